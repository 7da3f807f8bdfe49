/// The models one event at a time against a full pass over the same stream, at every length and
/// restored at every time step.

#include <atomic>
#include <optional>
#include <thread>

#include "refrain/data/batches.hpp"
#include "refrain/serve/recommender.hpp"
#include "refrain_models/cmnrec_served.hpp"
#include "refrain_models/peterrec_served.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/variables.hpp"

namespace {

using namespace refrain;
using models::CmnRec;
using models::CmnRecServed;
using models::NextItNet;
using models::PatchSet;
using models::PeterRecServed;
using models::ServedSchedule;
using test::redraw;

constexpr std::int64_t served_items = 30;

std::vector<std::int32_t> some_items(std::int64_t count, std::uint64_t seed) {
  std::vector<std::int32_t> ids = test::integers(test::random_ids(count, served_items, seed));
  for (std::int32_t& id : ids) id += special_ids;
  return ids;
}

std::shared_ptr<NextItNet> base_network(std::vector<std::int64_t> dilations,
                                        Padding padding = Padding::causal, std::uint64_t seed = 1) {
  Random random(seed);
  auto base = std::make_shared<NextItNet>(NextItNet::Options{.items = served_items + special_ids,
                                                             .channels = 16,
                                                             .dilations = std::move(dilations),
                                                             .padding = padding},
                                          random);
  redraw(*base, 10 * seed);
  base->freeze();
  return base;
}

std::shared_ptr<PatchSet> patch_set(const NextItNet& base, Insertion insertion, bool two = true,
                                    std::uint64_t seed = 2) {
  Random random(seed);
  auto set = std::make_shared<PatchSet>(
      base,
      PatchSet::Options{.patches = {.insertion = insertion, .two_per_block = two},
                        .head = {.targets = 7},
                        .tcl_id = seed % 2 == 0 ? tcl_id : -1},
      random);
  redraw(*set, 50 * seed);
  return set;
}

template <class Controller>
std::shared_ptr<CmnRec<Controller>> memory_network(std::int64_t attention, ChunkOrder order,
                                                   std::int64_t heads = 2) {
  Random random(4);
  auto network = std::make_shared<CmnRec<Controller>>(
      typename CmnRec<Controller>::Options{.items = served_items + special_ids,
                                           .embedding = 12,
                                           .hidden = 16,
                                           .words = 5,
                                           .word_size = 8,
                                           .heads = heads,
                                           .layers = 2,
                                           .attention = attention,
                                           .keep = 0.5,
                                           .order = order},
      random);
  redraw(*network, 70);
  return network;
}

/// The parts of a stream as bytes.
template <class Model>
std::string bytes_of(const Model& model, const typename Model::Task& task,
                     const typename Model::Stream& stream) {
  StateWriter writer;
  model.visit(task, stream, writer);
  return writer.bytes();
}

/// At every length: scores of the stream against a full pass; computing scores changes no byte; the
/// stream restored from its bytes gives the same scores and continues in the same way.
template <class Model>
void check_stream(const Model& model, const typename Model::Task& task,
                  std::span<const std::int32_t> history) {
  const SerialLoops here;  // small work: waking threads would cost more
  REQUIRE(model.is_incremental(task));
  typename Model::Stream stream = model.start(task, {});
  for (std::size_t length = 1; length <= history.size(); ++length) {
    INFO("length " << length);
    if (length % 2 == 0) {
      typename Model::Stream read = model.start(task, {});
      const std::string bytes = bytes_of(model, task, stream);
      StateReader reader(bytes);
      model.visit(task, read, reader);
      REQUIRE(reader.is_at_end());
      REQUIRE(bytes_of(model, task, read) == bytes);
      stream = std::move(read);
    }
    model.advance(task, stream, history[length - 1]);
    const std::string before = bytes_of(model, task, stream);
    const Tensor scores = model.scores(task, std::as_const(stream));
    CHECK(bytes_of(model, task, stream) == before);
    const auto so_far = history.first(length);
    const std::vector<double> expected = test::doubles(model.scores(task, so_far));
    test::check_close<float>(scores, expected, test::tolerance::sum<float>);
    test::check_close<float>(model.scores(task, model.start(task, so_far)), expected,
                             test::tolerance::sum<float>);
  }
}

}  // namespace

TEST_CASE("serve: PeterRec's streams equal full passes at every length and division", "[serve]") {
  const std::vector<std::int32_t> history = some_items(80, 5);
  for (const auto& dilations : {std::vector<std::int64_t>{1, 4}, {30}, {1, 2, 1}}) {
    for (const std::int64_t padding : {0, 9}) {
      const std::shared_ptr<NextItNet> base = base_network(dilations);
      const PeterRecServed model(base, {.padding_steps = padding});
      INFO(dilations.size() << " blocks, dilation " << dilations.front() << ", padding "
                            << padding);
      check_stream(model, PeterRecServed::Task(), history);
      check_stream(model, PeterRecServed::Task(patch_set(*base, Insertion::serial)), history);
      check_stream(model, PeterRecServed::Task(patch_set(*base, Insertion::parallel, true, 3)),
                   history);
      check_stream(model, PeterRecServed::Task(patch_set(*base, Insertion::serial, false)),
                   history);
      check_stream(model, PeterRecServed::Task(patch_set(*base, Insertion::none)), history);
    }
  }
}

TEST_CASE("serve: PeterRec's full pass is the network over the unpadded stream", "[serve]") {
  const std::shared_ptr<NextItNet> base = base_network({1, 2});
  const std::shared_ptr<PatchSet> patches = patch_set(*base, Insertion::parallel);
  const PeterRecServed model(base);
  REQUIRE(base->reach() == 19);
  for (const std::int64_t length : {1, 5, 18, 19, 20, 60}) {
    INFO("length " << length);
    std::vector<std::int32_t> ids = some_items(length, 6);
    const Tensor next = model.scores(PeterRecServed::Task(), ids);
    const Tensor task = model.scores(PeterRecServed::Task(patches), ids);
    // This pass records, so it computes all time steps.
    const Tensor row = Tensor::from<std::int32_t>({1, length}, ids);
    CHECK(test::same_bytes(next, base->scores_of(select_step(base->hidden(row), -1))));
    ids.push_back(tcl_id);
    CHECK(test::same_bytes(task, patches->scores(base->with(*patches).user(
                                     Tensor::from<std::int32_t>({1, length + 1}, ids)))));
  }
}

TEST_CASE("serve: a non-causal base is served by full passes", "[serve]") {
  const std::shared_ptr<NextItNet> base = base_network({1, 2}, Padding::same);
  const std::shared_ptr<PatchSet> patches = patch_set(*base, Insertion::serial);
  const PeterRecServed model(base);
  const PeterRecServed::Task task(patches);
  CHECK_FALSE(model.is_incremental(task));
  const std::vector<std::int32_t> history{7, 9, 4};
  const NoGrad off;
  CHECK(test::same_bytes(model.scores(task, history),
                         patches->scores(base->with(*patches).user(
                             Tensor::from<std::int32_t>({1, 5}, {tcl_id, 7, 9, 4, tcl_id})))));
  CHECK(test::same_bytes(model.scores(PeterRecServed::Task(), history),
                         base->scores(Tensor::from<std::int32_t>({1, 4}, {7, 9, 4, mask_id}))));
}

TEST_CASE("serve: a non-causal base reads as many steps as in the training of its task",
          "[serve]") {
  const std::shared_ptr<NextItNet> base = base_network({1, 2}, Padding::same);
  const std::shared_ptr<PatchSet> patches = patch_set(*base, Insertion::serial);
  const PeterRecServed trained(base, {.padding_steps = std::nullopt});
  const PeterRecServed bare(base);
  const NoGrad off;
  for (const std::int64_t length : {1, 3, 7, 60}) {
    for (const std::int64_t count : {1, 2, 6, 7, 8, 70}) {
      INFO("length " << length << ", " << count << " items");
      const std::vector<std::int32_t> history = some_items(count, 3);
      RaggedIds rows;
      rows.push_back(history);
      std::vector<std::int32_t> asked = history;
      asked.push_back(mask_id);
      rows.push_back(asked);
      const std::vector<std::int64_t> first{0};
      const std::vector<std::int64_t> second{1};
      const PeterRecServed::Task next(nullptr, length);
      const PeterRecServed::Task patched(patches, length);
      CHECK(test::same_bytes(trained.scores(next, history),
                             base->scores(padded_batch(rows, second, length))));
      CHECK(test::same_bytes(trained.scores(patched, history),
                             patches->scores(base->with(*patches).user(
                                 tcl_batch(rows, first, length, TclPlacement::both)))));
      if (count < length) continue;
      CHECK(test::same_bytes(bare.scores(next, history), trained.scores(next, history)));
      CHECK(test::same_bytes(bare.scores(patched, history), trained.scores(patched, history)));
    }
  }
  CHECK_THROWS_AS(PeterRecServed::Task(nullptr, 0), OptionError);
}

TEST_CASE("serve: the default padding of a stream is that of the training of its task", "[serve]") {
  const std::shared_ptr<NextItNet> base = base_network({1, 2});
  const PeterRecServed trained(base, {.padding_steps = std::nullopt});
  const std::vector<std::int32_t> history = some_items(3, 3);
  for (const std::int64_t length : {1, 7, 60}) {
    INFO("length " << length);
    const PeterRecServed::Task task(nullptr, length);
    check_stream(trained, task, history);
    const PeterRecServed given(base, {.padding_steps = length});
    CHECK(test::same_bytes(trained.scores(task, history),
                           given.scores(PeterRecServed::Task(), history)));
    CHECK(task.identity() != PeterRecServed::Task().identity());
    CHECK(trained.identity() != given.identity());
  }
}

TEMPLATE_TEST_CASE("serve: CmnRec's streams equal full passes at every length and division",
                   "[serve]", Lstm, Gru) {
  const std::vector<std::int32_t> history = some_items(26, 7);
  for (const ChunkOrder order : {ChunkOrder::paper, ChunkOrder::reference_code}) {
    for (const std::int64_t padding : {0, 3}) {
      INFO("order " << static_cast<int>(order) << ", padding " << padding);
      const CmnRecServed<TestType> chunked(memory_network<TestType>(6, order),
                                           {.padding_steps = padding});
      for (const std::int64_t gap : {1, 2, 5, 40})
        check_stream(chunked, ServedSchedule::every(gap), history);
      const CmnRecServed<TestType> plain(memory_network<TestType>(0, order),
                                         {.padding_steps = padding});
      check_stream(plain, ServedSchedule::every(1), history);
    }
  }
}

TEST_CASE("serve: a long history is a stream of its items", "[serve]") {
  const std::vector<std::int32_t> history = some_items(600, 9);
  const CmnRecServed<Lstm> model(memory_network<Lstm>(6, ChunkOrder::paper), {.padding_steps = 2});
  const ServedSchedule task = ServedSchedule::every(7);
  const SerialLoops here;
  CmnRecServed<Lstm>::Stream stream = model.start(task, {});
  for (const std::int32_t item : history) model.advance(task, stream, item);
  const CmnRecServed<Lstm>::Stream begun = model.start(task, history);
  CHECK(begun.steps == 601);
  CHECK(begun.newest == history.back());
  test::check_close<float>(model.scores(task, begun), test::doubles(model.scores(task, stream)),
                           test::tolerance::sum<float>);
}

TEST_CASE("serve: CmnRec's schedules of the newest items are served by padded full passes",
          "[serve]") {
  const auto network = memory_network<Lstm>(6, ChunkOrder::paper);
  const CmnRecServed<Lstm> model(network);
  const ChunkSchedule schedule = ChunkSchedule::tsc(8, 3);
  const ServedSchedule task = ServedSchedule::newest(schedule);
  CHECK_FALSE(model.is_incremental(task));
  CHECK(test::same_bytes(
      model.scores(task, std::vector<std::int32_t>{5, 6, 7}),
      network->scores(Tensor::from<std::int32_t>({1, 8}, {0, 0, 0, 0, 0, 5, 6, 7}), schedule)));
  const std::vector<std::int32_t> history = some_items(20, 8);
  CHECK(test::same_bytes(
      model.scores(task, history),
      network->scores(Tensor::from<std::int32_t>({1, 8}, std::span(history).last(8)), schedule)));
  CHECK_THROWS_AS(ServedSchedule::every(0), OptionError);
  CHECK_THROWS_AS(model.scores(ServedSchedule::every(2), model.start(ServedSchedule::every(2), {})),
                  OptionError);
}

TEST_CASE("serve: one CmnRec network, which is not const, serves many threads",
          "[serve][threads]") {
  const CmnRecServed<Lstm> model(memory_network<Lstm>(6, ChunkOrder::paper));
  const ServedSchedule forward = ServedSchedule::every(3);
  const ServedSchedule backward = ServedSchedule::newest(ChunkSchedule::pec(8, 2));
  const std::vector<std::int32_t> history = some_items(12, 9);
  const Tensor from_stream = model.scores(forward, model.start(forward, history));
  const Tensor from_newest = model.scores(backward, history);
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int round = 0; round < 5; ++round) {
        if (!test::same_bytes(model.scores(forward, model.start(forward, history)), from_stream))
          ++wrong;
        if (!test::same_bytes(model.scores(backward, history), from_newest)) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
}

TEST_CASE("serve: a stream of another schedule is refused", "[serve]") {
  const CmnRecServed<Lstm> model(memory_network<Lstm>(6, ChunkOrder::paper));
  const ServedSchedule wide = ServedSchedule::every(10);
  const ServedSchedule narrow = ServedSchedule::every(2);
  const std::string bytes = bytes_of(model, wide, model.start(wide, some_items(9, 1)));
  auto stream = model.start(narrow, {});
  StateReader reader(bytes);
  CHECK_THROWS_AS(model.visit(narrow, stream, reader), DataError);
}
