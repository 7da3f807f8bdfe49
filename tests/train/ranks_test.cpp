/// Data-parallel training: ranks that have the slices of a batch together.

#include <array>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "refrain/distributed/local_group.hpp"
#include "refrain/train/content_hash.hpp"
#include "refrain/train/fit.hpp"
#include "support/generated_ratings.hpp"
#include "support/scratch.hpp"
#include "support/small_recommender.hpp"
#include "train/trainer_runs.hpp"

using namespace refrain;
using namespace refrain::test;

namespace ranks_test {

/// What one rank ends with.
struct Ended {
  std::string model;
  std::vector<double> figures;  ///< losses of all steps, then metrics of all epochs
  TrainingEnd end = TrainingEnd::finished;
  friend bool operator==(const Ended&, const Ended&) = default;
};

struct Run {
  int threads = 1;
  std::int64_t epochs = 2;
  std::int64_t slices = 8;
  std::string checkpoint = "";
  std::int64_t stop_at = 0;  ///< the step after which rank 0 asks for a stop; 0: none
  std::int64_t batch = 40;
  std::function<std::chrono::microseconds(int, std::int64_t)> delay = {};
};

Ended trained(const Dataset& data, const Run& run, Communicator* communicator) {
  SmallRecommender model(data.vocabulary.size(), {.keep = 0.7});
  Ended ended;
  const bool is_first = communicator == nullptr || communicator->rank() == 0;
  std::int64_t done = 0;
  const TrainingResult result =
      fit(model, data,
          {.epochs = run.epochs,
           .batch = run.batch,
           .slices = run.slices,
           .communicator = communicator,
           .patience = 0,
           .checkpoint = run.checkpoint,
           .progress = Progress::Style::quiet,
           .on_step =
               [&](const StepReport& step) {
                 ended.figures.push_back(step.loss);
                 ended.figures.push_back(step.gradient_norm);
                 if (++done == run.stop_at && is_first) InterruptGuard::request();
               },
           .on_epoch = [&](const EpochReport& epoch) { ended.figures.push_back(epoch.metric); }});
  ended.model = content_hash(model);
  ended.end = result.end;
  return ended;
}

Ended alone_trained(const Dataset& data, const Run& run) {
  const ThreadCount scope(run.threads);
  InterruptGuard::clear();
  Ended ended = trained(data, run, nullptr);
  InterruptGuard::clear();
  return ended;
}

/// The results of all ranks.
std::vector<Ended> together(const Dataset& data, int ranks, const Run& run) {
  const ThreadCount scope(run.threads);
  InterruptGuard::clear();
  std::vector<Ended> all(static_cast<std::size_t>(ranks));
  LocalGroup(ranks, {.deadline = std::chrono::seconds(60), .delay = run.delay})
      .run([&](Communicator& communicator) {
        all[static_cast<std::size_t>(communicator.rank())] = trained(data, run, &communicator);
      });
  InterruptGuard::clear();
  return all;
}

using Gradients = std::vector<Gradient>;

void add_dense(Gradients& sum, const Gradients& more) {
  if (sum.empty()) sum.resize(more.size());
  for (std::size_t i = 0; i < more.size(); ++i) {
    if (!more[i].is_sparse() && more[i].defined()) sum[i].add(more[i].dense());
  }
}

/// The dense gradients of all slices added up as a reduction inside a transport does (MPI_SUM):
/// every rank adds its slices from left to right, then the sums of the ranks are added.
Gradients sum_by_ranks(const std::vector<Gradients>& slices, int ranks) {
  Gradients total;
  for (int rank = 0; rank < ranks; ++rank) {
    const SliceRange own = SliceTree(std::ssize(slices)).slices_of(rank, ranks);
    Gradients sum;
    for (std::int64_t s = own.begin; s < own.end; ++s)
      add_dense(sum, slices[static_cast<std::size_t>(s)]);
    add_dense(total, sum);
  }
  return total;
}

/// The hash of the model after an epoch of trained(), with the gradients of `ranks` ranks added by
/// sum_by_ranks(); 0: in the tree.
std::string epoch_by_sums(const Dataset& data, int ranks) {
  SmallRecommender model(data.vocabulary.size(), {.keep = 0.7});
  Adam adam(model);
  NextItemBatches batches(data.training, {.length = model.length(), .batch_size = 40, .seed = 1});
  const auto make = [&](std::int64_t epoch, std::int64_t step, BatchSlice slice) {
    return batches(epoch, step, slice);
  };
  const SliceTree tree(8);
  model.train();
  for (std::int64_t step = 0; step < batches.steps_per_epoch(); ++step) {
    const auto batch = refrain::detail::make_slices(make, 0, step, tree, DType::f32);
    SliceStreams draws(model.randoms());
    std::vector<Gradients> slices;
    SliceSum sum(tree);
    for (std::int64_t s = 0; s < tree.slices(); ++s) {
      const SequenceBatch& part = batch.slices[static_cast<std::size_t>(s)];
      slices.emplace_back();
      if (!refrain::detail::is_empty(part)) {
        draws.begin(s);
        const Variable loss = model.loss(part);
        backward(multiply(loss, Variable(batch.weights.slice(s, s + 1).reshape(loss.shape()))));
        slices.back() = adam.take_gradients();
      }
      sum.add(slices.back());
    }
    Gradients total = sum.finish();
    if (ranks > 0) {
      Gradients other = sum_by_ranks(slices, ranks);
      for (std::size_t i = 0; i < total.size(); ++i) {
        if (other[i].defined()) total[i] = std::move(other[i]);
      }
    }
    adam.put_gradients(std::move(total));
    adam.clip_gradients(5);
    adam.step();
    adam.zero_grad();
  }
  model.eval();
  return content_hash(model);
}

}  // namespace ranks_test

using namespace ranks_test;

TEST_CASE("ranks: any number of ranks ends with the bytes of one process",
          "[train][distributed][determinism]") {
  const Dataset data = generated_dataset();
  const Ended expected = alone_trained(data, {});
  CHECK(alone_trained(data, {.slices = 4}).model != expected.model);
  for (const int ranks : {1, 2, 3, 5, 8}) {
    for (const int threads : {1, 2}) {
      INFO(ranks << " ranks, " << threads << " threads");
      for (const Ended& ended : together(data, ranks, {.threads = threads}))
        CHECK(ended == expected);
    }
  }
  // A slow rank; batches of six rows, which leave two of the eight slices empty.
  const auto delay = [](int rank, std::int64_t call) {
    return std::chrono::microseconds(rank == 1 && call % 5 == 0 ? 2000 : 0);
  };
  for (const Ended& ended : together(data, 3, {.delay = delay})) CHECK(ended == expected);
  const Ended few_rows = alone_trained(data, {.batch = 6});
  for (const Ended& ended : together(data, 3, {.batch = 6})) CHECK(ended == few_rows);
}

TEST_CASE("ranks: sums in the order of the ranks end with other bytes",
          "[train][distributed][determinism]") {
  const Dataset data = generated_dataset();
  const std::string expected = alone_trained(data, {.epochs = 1}).model;
  CHECK(epoch_by_sums(data, 0) == expected);
  std::set<std::string> others;
  for (const int ranks : {1, 2, 3, 5, 8}) others.insert(epoch_by_sums(data, ranks));
  CHECK(others.size() == 4);  // one rank and eight ranks add all slices from left to right
  CHECK_FALSE(others.contains(expected));
}

TEST_CASE("ranks: an interrupted run resumes on any number of ranks",
          "[train][distributed][reliability][determinism]") {
  const Dataset data = generated_dataset();
  const std::string expected = alone_trained(data, {}).model;
  const ScratchFolder folder;
  int files = 0;
  for (const int ranks : {1, 2, 3}) {
    for (const int resumed_on : {1, 3, 4}) {
      const std::int64_t stop_at = 1 + files % 4;
      const std::string state = folder.path("state" + std::to_string(files++));
      INFO(ranks << " ranks until step " << stop_at << ", then " << resumed_on);
      for (const Ended& ended : together(data, ranks, {.checkpoint = state, .stop_at = stop_at})) {
        CHECK(ended.end == TrainingEnd::interrupted);
        CHECK(ended.model == together(data, 1, {.stop_at = stop_at})[0].model);
      }
      for (const Ended& ended : together(data, resumed_on, {.checkpoint = state}))
        CHECK(ended.model == expected);
    }
  }
}

TEST_CASE("ranks: tables with row-sparse gradients and frozen parameters",
          "[train][distributed][determinism]") {
  const auto train = [](Communicator* communicator) {
    SmallNetwork model(5);
    model.freeze("middle.bias");
    Adam adam(model, {.learning_rate = 0.01, .l2 = 0.001, .decay = 0.1});
    Trainer trainer(model, adam,
                    {.epochs = 2,
                     .steps_per_epoch = 4,
                     .max_norm = 0.5,
                     .slices = 6,
                     .communicator = communicator});
    trainer.run(
        Device::cpu,
        [](std::int64_t epoch, std::int64_t step, BatchSlice slice) {
          const std::int64_t rows = 11;
          const Tensor all = random_ids(rows, 30, static_cast<std::uint64_t>(epoch * 100 + step));
          return TensorBatch{
              all.slice(rows * slice.index / slice.count, rows * (slice.index + 1) / slice.count)};
        },
        [&](const TensorBatch& batch) { return model.loss(batch.tensor); },
        [&](std::int64_t) { return -model.loss(random_ids(20, 30, 999)).item(); });
    return content_hash(model) + content_hash(adam.state());
  };
  const std::string expected = train(nullptr);
  for (const int ranks : {2, 3, 5, 6}) {
    INFO(ranks);
    std::vector<std::string> all(static_cast<std::size_t>(ranks));
    LocalGroup(ranks).run([&](Communicator& communicator) {
      all[static_cast<std::size_t>(communicator.rank())] = train(&communicator);
    });
    for (const std::string& ended : all) CHECK(ended == expected);
  }
}

TEST_CASE("ranks: ranks that would not end with the same bytes are refused",
          "[train][distributed][errors]") {
  const auto run = [](auto&& make_options) {
    LocalGroup(2, {.deadline = std::chrono::seconds(20), .delay = {}})
        .run([&](Communicator& communicator) {
          const bool is_second = communicator.rank() == 1;
          SmallNetwork model(is_second && make_options.other_model ? 6 : 5);
          Adam adam(model, {.learning_rate = is_second ? make_options.rate : 0.01});
          Trainer trainer(model, adam,
                          {.epochs = 1,
                           .steps_per_epoch = 2,
                           .slices = 2,
                           .communicator = &communicator,
                           .schedule =
                               [&](std::int64_t step) {
                                 return 0.1 / (1 + (is_second ? make_options.decay : 1) *
                                                       static_cast<double>(step));
                               },
                           .setting = {{"data", is_second ? make_options.data : "a"}}});
          trainer.run(
              Device::cpu,
              [](std::int64_t, std::int64_t step, BatchSlice slice) {
                return TensorBatch{random_ids(4, 30, static_cast<std::uint64_t>(step))
                                       .slice(2 * slice.index, 2 * slice.index + 2)};
              },
              [&](const TensorBatch& batch) {
                if (is_second && make_options.throws) throw DataError("table.csv", 7, "is damaged");
                return model.loss(batch.tensor);
              },
              [](std::int64_t) { return 0.0; });
        });
  };
  struct Case {
    bool other_model = false;
    double rate = 0.01;
    double decay = 1;
    std::string data = "a";
    bool throws = false;
  };
  CHECK_NOTHROW(run(Case{}));
  CHECK_THROWS_MATCHES(run(Case{.other_model = true}), CommunicationError,
                       message_contains("parameters: rank 1"));
  CHECK_THROWS_MATCHES(run(Case{.rate = 0.02}), CommunicationError,
                       message_contains("learning rate: rank 1"));
  CHECK_THROWS_MATCHES(run(Case{.decay = 2}), CommunicationError,
                       message_contains("learning rate of step 1: rank 1"));
  CHECK_THROWS_MATCHES(run(Case{.data = "b"}), CommunicationError,
                       message_contains("setting data: rank 1"));
  CHECK_THROWS_MATCHES(run(Case{.throws = true}), DataError, message_contains("is damaged"));

  CHECK_THROWS_MATCHES(LocalGroup(3).run([](Communicator& communicator) {
    SmallNetwork model(5);
    Adam adam(model);
    Trainer(model, adam, {.steps_per_epoch = 1, .slices = 2, .communicator = &communicator});
  }),
                       OptionError,
                       message_contains("expected at least as many slices as ranks, 3, got 2"));
  CHECK_THROWS_MATCHES(LocalGroup(2).run([](Communicator& communicator) {
    SmallNetwork model(5);
    Adam adam(model);
    Trainer(
        model, adam,
        {.steps_per_epoch = 1, .slices = 2, .communicator = &communicator, .pending_losses = 1});
  }),
                       OptionError,
                       message_contains("expected pending_losses = 0 for several ranks, got 1"));
}
