/// Many tasks in one pass: values, gradients and trained parameters are those of each task alone.

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "refrain/train/content_hash.hpp"
#include "refrain/train/optimizer.hpp"
#include "refrain_models/task_bank.hpp"
#include "support/catch.hpp"
#include "support/variables.hpp"

namespace {
namespace task_bank {

using namespace refrain;
using models::BankedNextItNet;
using models::HeadLoss;
using models::NextItNet;
using models::PatchSet;
using models::TaskBank;
using test::random_ids;
using test::redraw;
using test::same_bytes;

constexpr std::int64_t item_count = 40, step_count = 9;

struct Case {
  std::string name;
  std::int64_t channels = 16;
  Padding padding = Padding::causal;
  Insertion insertion = Insertion::serial;
  bool two_per_block = true;
  std::vector<std::int64_t> bottlenecks{4, 4, 4};  ///< one for each task
  std::int64_t classes = 5;                        ///< TaskBank::Options::classes
};

const std::vector<Case> cases{
    {.name = "serial"},
    {.name = "parallel", .insertion = Insertion::parallel},
    {.name = "one per block", .two_per_block = false},
    {.name = "a head apart", .classes = 2},
    {.name = "all heads apart", .classes = 0},
    {.name = "both sides", .padding = Padding::same},
    {.name = "several widths", .channels = 32, .bottlenecks = {16, 3, 8, 1}},
    {.name = "several widths, parallel, both sides",
     .channels = 24,
     .padding = Padding::same,
     .insertion = Insertion::parallel,
     .bottlenecks = {5, 24, 7}},
    {.name = "wide", .channels = 256, .bottlenecks = {64, 32}},
};

template <class T>
NextItNet base_of(const Case& c) {
  Random random(1);
  NextItNet base({.items = item_count,
                  .channels = c.channels,
                  .dilations = {1, 2},
                  .padding = c.padding,
                  .dropout = 0.5},  // acts on the base's own training only
                 random, {.dtype = dtype_of<T>});
  redraw(base, 2);
  base.freeze();
  return base;
}

/// Task `number`, from 0: tasks have heads of several kinds and sizes.
template <class T>
std::unique_ptr<PatchSet> task_of(const NextItNet& base, const Case& c, std::size_t number) {
  Random random(10 + number);
  const HeadLoss losses[]{HeadLoss::softmax, HeadLoss::bpr, HeadLoss::softmax, HeadLoss::logistic};
  auto set = std::make_unique<PatchSet>(
      base,
      PatchSet::Options{
          .patches = {.insertion = c.insertion,
                      .two_per_block = c.two_per_block,
                      .bottleneck = c.bottlenecks[number],
                      .start = PatchStart::random},
          .head = {.targets = 2 + static_cast<std::int64_t>(number), .loss = losses[number % 4]},
          .tcl_id = 1},
      random, Placement{.dtype = dtype_of<T>});
  redraw(*set, 100 * (number + 1), 0.3);
  return set;
}

TaskBank bank_of(const NextItNet& base, const Case& c, std::int64_t tasks) {
  return TaskBank(base,
                  {.tasks = tasks,
                   .patches = {.insertion = c.insertion, .two_per_block = c.two_per_block},
                   .bottleneck = *std::max_element(c.bottlenecks.begin(), c.bottlenecks.end()),
                   .tcl_id = 1,
                   .classes = c.classes});
}

/// A batch of one task in one step.
struct Batch {
  Tensor ids, targets, negatives;
};
Batch batch_of(std::size_t task, std::int64_t step, const NextItNet& base) {
  const std::int64_t count =
      1 + static_cast<std::int64_t>((task + 2 * static_cast<std::size_t>(step)) % 4);
  const std::uint64_t seed = 1000 * (task + 1) + static_cast<std::uint64_t>(step);
  Batch batch{random_ids(count * step_count, item_count, seed).reshape({count, step_count}),
              random_ids(count, 2, seed + 1), random_ids(count, 2, seed + 2)};
  for (std::int64_t b = 0; b < count; ++b) {
    std::int32_t* const row = batch.ids.data<std::int32_t>() + b * step_count;
    row[step_count - 1] = 1;
    if (base.options().padding == Padding::same) row[0] = 1;
  }
  return batch;
}

Tensor joined(const std::vector<Tensor>& parts) {
  std::int64_t count = 0;
  for (const Tensor& part : parts) count += part.size(0);
  Tensor all = empty_like(parts.front(), parts.front().shape().with(0, count));
  std::int64_t at = 0;
  for (const Tensor& part : parts) {
    all.slice(at, at + part.size(0)).copy_from(part);
    at += part.size(0);
  }
  return all;
}

/// The tasks' batches side by side, with the row of each sequence. `rows`: of each task.
struct Joined {
  Tensor ids, targets, negatives, rows;
};
Joined joined(const std::vector<Batch>& batches, const std::vector<std::int64_t>& rows) {
  std::vector<Tensor> ids, targets, negatives;
  std::vector<std::int32_t> of_sequence;
  for (std::size_t i = 0; i < batches.size(); ++i) {
    ids.push_back(batches[i].ids);
    targets.push_back(batches[i].targets);
    negatives.push_back(batches[i].negatives);
    of_sequence.insert(of_sequence.end(), static_cast<std::size_t>(batches[i].ids.size(0)),
                       static_cast<std::int32_t>(rows[i]));
  }
  return {joined(ids), joined(targets), joined(negatives),
          Tensor::from<std::int32_t>({std::ssize(of_sequence)}, of_sequence)};
}

/// Trains the tasks of a case alone.
template <class T>
std::vector<std::string> trained_alone(const NextItNet& base, const Case& c, std::int64_t steps) {
  std::vector<std::string> hashes;
  for (std::size_t task = 0; task < c.bottlenecks.size(); ++task) {
    const std::unique_ptr<PatchSet> set = task_of<T>(base, c, task);
    Adam adam(*set, {.learning_rate = 0.01, .decay = 0.01});
    for (std::int64_t step = 0; step < steps; ++step) {
      adam.zero_grad();
      const Batch batch = batch_of(task, step, base);
      backward(base.with(*set).loss(batch.ids, batch.targets, batch.negatives));
      adam.clip_gradients(1.0);
      adam.step();
    }
    hashes.push_back(content_hash(*set));
  }
  return hashes;
}

/// Trains them in one pass, the last task only every second step, as a task with fewer examples.
template <class T>
std::vector<std::string> trained_together(const NextItNet& base, const Case& c, std::int64_t steps,
                                          bool reversed) {
  const std::size_t tasks = c.bottlenecks.size();
  std::vector<std::unique_ptr<PatchSet>> sets;
  for (std::size_t task = 0; task < tasks; ++task) sets.push_back(task_of<T>(base, c, task));
  TaskBank bank = bank_of(base, c, static_cast<std::int64_t>(tasks));
  std::vector<std::size_t> order(tasks);  // of the rows
  for (std::size_t i = 0; i < tasks; ++i) order[i] = reversed ? tasks - 1 - i : i;
  std::vector<std::int64_t> rows;
  std::vector<std::unique_ptr<Adam>> adams;
  for (const std::size_t task : order) {
    rows.push_back(bank.bind(*sets[task]));
    adams.push_back(
        std::make_unique<Adam>(*sets[task], AdamOptions{.learning_rate = 0.01, .decay = 0.01}));
  }
  for (std::int64_t step = 0; step < steps; ++step) {
    std::vector<Batch> batches;
    for (const std::size_t task : order) batches.push_back(batch_of(task, step, base));
    const Joined all = joined(batches, rows);
    for (const auto& adam : adams) adam->zero_grad();
    backward(BankedNextItNet(base, bank, all.rows).losses(all.ids, all.targets, all.negatives).sum);
    bank.pass_gradients();
    for (const auto& adam : adams) {
      adam->clip_gradients(1.0);
      adam->step();
    }
  }
  for (const std::int64_t row : rows) bank.release(row);
  std::vector<std::string> hashes;
  for (const auto& set : sets) hashes.push_back(content_hash(*set));
  return hashes;
}

}  // namespace task_bank
}  // namespace

TEMPLATE_TEST_CASE("task bank: tasks trained in one pass end with the bytes of each alone",
                   "[models][bank]", float, double) {
  using namespace task_bank;
  using T = TestType;
  for (const Case& c : cases) {
    INFO(c.name);
    const NextItNet base = base_of<T>(c);
    const std::string before = content_hash(base);
    const std::int64_t steps = c.channels > 64 ? 5 : 100;
    const std::vector<std::string> alone = trained_alone<T>(base, c, steps);
    for (const int count : {1, 2, 3, 8}) {
      INFO(count << " threads");
      const test::ThreadCount scope(count);
      CHECK(trained_together<T>(base, c, steps, count == 2) == alone);  // also on other rows
      if (c.channels > 64) break;
    }
    CHECK(content_hash(base) == before);
  }
}

TEST_CASE("task bank: weighted losses are those of each task alone", "[models][bank]") {
  using namespace task_bank;
  for (const Case& c : cases) {
    if (c.channels > 64) continue;
    INFO(c.name);
    const NextItNet base = base_of<float>(c);
    TaskBank bank = bank_of(base, c, std::ssize(c.bottlenecks));
    std::vector<std::unique_ptr<PatchSet>> sets;
    std::vector<Batch> batches;
    std::vector<std::int64_t> rows;
    std::vector<double> weights;
    for (std::size_t task = 0; task < c.bottlenecks.size(); ++task) {
      sets.push_back(task_of<float>(base, c, task));
      rows.push_back(bank.bind(*sets.back()));
      batches.push_back(batch_of(task, 2, base));
      weights.push_back(1 / (1.5 + static_cast<double>(task)));
    }
    const Joined all = joined(batches, rows);
    const BankedNextItNet network(base, bank, all.rows);
    const BankedNextItNet::Losses losses =
        network.losses(all.ids, all.targets, all.negatives, weights);
    backward(losses.sum);
    bank.pass_gradients();
    for (std::size_t task = 0; task < sets.size(); ++task) {
      INFO("task " << task);
      const std::unique_ptr<PatchSet> own = task_of<float>(base, c, task);
      const Batch& batch = batches[task];
      const Variable loss =
          multiply(base.with(*own).loss(batch.ids, batch.targets, batch.negatives),
                   Variable(Tensor::full({}, weights[task], DType::f32)));
      backward(loss);
      CHECK(same_bytes(losses.each[task], loss.value()));
      const std::vector<NamedParameter> alone = own->parameters(), bound = sets[task]->parameters();
      for (std::size_t i = 0; i < alone.size(); ++i) {
        INFO(alone[i].name);
        const Parameter& parameter = *alone[i].parameter;
        CHECK(same_bytes(bound[i].parameter->gradient().to_dense(parameter.shape()),
                         parameter.gradient().to_dense(parameter.shape())));
      }
    }
    weights.pop_back();
    CHECK_THROWS_MATCHES(network.losses(all.ids, all.targets, all.negatives, weights), OptionError,
                         test::message_contains("a weight for each of"));
  }
}

TEST_CASE("task bank: heads of another label smoothing are apart", "[models][bank]") {
  using namespace task_bank;
  const NextItNet base = base_of<float>({});
  TaskBank bank(base, {.tasks = 2, .classes = 3, .smoothing = 0.1});
  std::vector<std::unique_ptr<PatchSet>> sets;
  for (const double smoothing : {0.1, 0.3}) {
    Random random(3);
    sets.push_back(std::make_unique<PatchSet>(
        base, PatchSet::Options{.head = {.targets = 3, .smoothing = smoothing}}, random));
    redraw(*sets.back(), 5, 0.3);
    bank.bind(*sets.back());
  }
  const Batch batch = batch_of(2, 0, base);
  const Joined all = joined({batch, batch}, {1, 2});
  const BankedNextItNet::Losses losses =
      BankedNextItNet(base, bank, all.rows).losses(all.ids, all.targets);
  for (std::size_t task = 0; task < 2; ++task) {
    CHECK(same_bytes(losses.each[task],
                     base.with(*sets[task]).loss(batch.ids, batch.targets).value()));
  }
  CHECK(losses.each[0].item() != losses.each[1].item());
}

TEST_CASE("task bank: scores do not depend on the other tasks of a batch", "[models][bank]") {
  using namespace task_bank;
  for (const Case& c : cases) {
    INFO(c.name);
    const NextItNet base = base_of<float>(c);
    TaskBank bank = bank_of(base, c, std::ssize(c.bottlenecks));
    std::vector<std::unique_ptr<PatchSet>> sets;
    std::vector<Batch> batches{batch_of(7, 0, base)};
    std::vector<std::int64_t> rows{0};  // the base without patches
    for (std::size_t task = 0; task < c.bottlenecks.size(); ++task) {
      sets.push_back(task_of<float>(base, c, task));
      rows.push_back(bank.bind(*sets.back()));
      batches.push_back(batch_of(task, 3, base));
    }
    const Joined all = joined(batches, rows);
    const std::vector<Tensor> scores = BankedNextItNet(base, bank, all.rows).scores(all.ids);
    REQUIRE(scores.size() == batches.size());
    const NoGrad off;
    // The user vector of the base alone: its blocks at the same time steps.
    const bool causal = base.options().padding == Padding::causal;
    const std::vector<Variable> ends = base.hidden_at(
        batches[0].ids, causal ? std::vector<std::int64_t>{-1} : std::vector<std::int64_t>{-1, 0});
    const Variable user = causal ? ends[0] : ends[1] + ends[0];
    CHECK(same_bytes(scores[0], base.scores_of(user)));
    for (std::size_t task = 0; task < sets.size(); ++task)
      CHECK(same_bytes(scores[task + 1], base.with(*sets[task]).scores(batches[task + 1].ids)));
  }
}

TEST_CASE("task bank: a released patch set keeps its values and leaves its row free",
          "[models][bank]") {
  using namespace task_bank;
  const Case c;
  const NextItNet base = base_of<float>(c);
  TaskBank bank = bank_of(base, c, 2);
  const std::unique_ptr<PatchSet> first = task_of<float>(base, c, 0);
  const std::unique_ptr<PatchSet> second = task_of<float>(base, c, 1);
  const std::unique_ptr<PatchSet> third = task_of<float>(base, c, 2);
  const std::string hash = content_hash(*first), other = content_hash(*second);
  CHECK(bank.bind(*first) == 1);
  CHECK(bank.bind(*second) == 2);
  CHECK_THROWS_MATCHES(bank.bind(*third), OptionError,
                       test::message_contains("expected at most 2 tasks"));
  CHECK(content_hash(*first) == hash);
  bank.release(1);
  CHECK(content_hash(*first) == hash);
  CHECK(bank.bind(*third) == 1);
  CHECK(content_hash(*first) == hash);
  CHECK(content_hash(*second) == other);
  CHECK_THROWS_AS(bank.release(0), OptionError);
  CHECK_THROWS_AS(bank.set_of(3), OptionError);
}

TEST_CASE("task bank: patch sets of another kind are refused", "[models][bank][errors]") {
  using namespace task_bank;
  const Case c;
  const NextItNet base = base_of<float>(c);
  CHECK_THROWS_AS(TaskBank(base, {.tasks = 0}), OptionError);
  CHECK_THROWS_AS(TaskBank(base, {.tasks = 1, .patches = {.insertion = Insertion::none}}),
                  OptionError);
  TaskBank bank = bank_of(base, c, 2);
  Case parallel = c, one = c, wide = c;
  parallel.insertion = Insertion::parallel;
  one.two_per_block = false;
  wide.bottlenecks = {5};
  CHECK_THROWS_AS(bank.bind(*task_of<float>(base, parallel, 0)), OptionError);
  CHECK_THROWS_AS(bank.bind(*task_of<float>(base, one, 0)), OptionError);
  CHECK_THROWS_MATCHES(bank.bind(*task_of<float>(base, wide, 0)), ShapeError,
                       test::message_contains("a bottleneck of at most 4, got 16 and 5"));
  const std::unique_ptr<PatchSet> task = task_of<float>(base, c, 0);
  bank.bind(*task);
  const Tensor ids = batch_of(0, 0, base).ids;
  const auto rows = [&](std::int32_t row) { return Tensor::full({ids.size(0)}, row, DType::i32); };
  CHECK_THROWS_AS(BankedNextItNet(base, bank, rows(3)).user(ids), ShapeError);
  CHECK_THROWS_AS(BankedNextItNet(base, bank, rows(0)).losses(ids, rows(0)), OptionError);
  CHECK_THROWS_AS(BankedNextItNet(base, bank, rows(2)).losses(ids, rows(0)), OptionError);
  CHECK_THROWS_MATCHES(BankedNextItNet(base, bank, rows(1)).losses(ids, rows(2)), ShapeError,
                       test::message_contains("targets[0] = 2 is outside [0, 2)"));
}
