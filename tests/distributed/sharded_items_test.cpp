/// Sharded item tables: division, training, bytes, memory.

#include <cmath>
#include <string>
#include <vector>

#include "distributed/sharded.hpp"
#include "refrain/nn/linear.hpp"
#include "refrain/ops/gather.hpp"
#include "refrain/ops/pointwise.hpp"
#include "refrain/train/slices.hpp"
#include "support/close.hpp"

using namespace refrain;
using namespace refrain::test;
using namespace refrain::test::sharded;

namespace sharded_items_test {

/// The training of a table that is both input and output of a small network.
struct Training {
  std::int64_t items = 5000, width = 8, rows = 22, length = 3, slices = 8;
  int steps = 3;
  DType dtype = DType::f32;
  bool sampled = false;
  double max_norm = 0;  ///< 0: gradients are not clipped
  AdamOptions adam = {.learning_rate = 0.01, .l2 = 0.001, .decay = 0.01};

  Linear network() const {
    Random random(7);
    return Linear({.in = width, .out = width, .deviation = 0.5}, random, {.dtype = dtype});
  }
  /// Ids [rows, length] of a step; a quarter of the targets is 0, which is not counted.
  Tensor ids(int step) const {
    return random_ids(rows * length, std::min<std::int64_t>(items, 700),
                      static_cast<std::uint64_t>(step))
        .reshape({rows, length});
  }
  Tensor targets(int step) const {
    Tensor targets = ids(100 + step).clone();
    for (std::int64_t i = 0; i < targets.numel(); i += 4) targets.data<std::int32_t>()[i] = 0;
    return targets;
  }
  Candidates candidates(int step) const {
    return {.ids = random_ids(15, items, static_cast<std::uint64_t>(1000 + step)),
            .log_q_true = {},
            .log_q_negative = {}};
  }
};

/// Everything that a training ends with.
struct TrainedTable {
  std::vector<double> losses;  ///< and norms of gradients that are clipped
  Tensor weight, bias;         ///< whole
  std::vector<Tensor> state;   ///< of the network, then moments and update counts of the table
};

/// The moments and update counts of all ranks by name.
struct SharedState {
  std::mutex mutex;
  std::map<std::string, Tensor> tensors;
};

TrainedTable train(const Training& training, Communicator& communicator, SharedState& shared) {
  Random random(5);
  ShardedItems items(communicator,
                     {.count = training.items,
                      .width = training.width,
                      .deviation = 0.5,
                      .dtype = training.dtype,
                      .adam = training.adam},
                     random);
  Linear network = training.network();
  Adam adam(network, {.learning_rate = 0.01});
  const SliceTree tree(training.slices);
  const SliceRange own = tree.slices_of(communicator.rank(), communicator.size());
  TrainedTable ended;
  for (int step = 0; step < training.steps; ++step) {
    const auto targets = own_slices(training.targets(step), training.slices, communicator);
    const std::vector<Variable> x =
        items.look_up(own_slices(training.ids(step), training.slices, communicator));
    std::vector<Variable> hidden, outputs;
    for (const Variable& each : x) {
      hidden.push_back(refrain::tanh(network(each)));
      outputs.emplace_back(hidden.back().value(), true);
    }
    const std::vector<Candidates> candidates(x.size(), training.candidates(step));
    const Variable loss =
        training.sampled ? sampled_softmax_loss(outputs, items, targets, candidates, {.ignored = 0})
                         : softmax_loss(outputs, items, targets, {.ignored = 0});
    backward(loss);
    SliceSum sum(tree, own);
    for (std::size_t slice = 0; slice < x.size(); ++slice) {
      if (outputs[slice].gradient().defined()) backward(hidden[slice], outputs[slice].grad());
      sum.add(adam.take_gradients());
    }
    adam.put_gradients(sum.finish(communicator, adam.shapes(), training.dtype));
    if (training.max_norm > 0) {
      const double own_norm = adam.clip_gradients(INFINITY);
      const double norm = items.clip_gradients(training.max_norm, own_norm * own_norm);
      if (norm > training.max_norm) adam.clip_gradients(training.max_norm * own_norm / norm);
      ended.losses.push_back(norm);
    }
    adam.step();
    adam.zero_grad();
    items.step();
    ended.losses.push_back(loss.item());
  }
  for (const NamedParameter& named : network.parameters())
    ended.state.push_back(named.parameter->value());
  ended.weight = items.gather_weight();
  ended.bias = items.gather_bias();
  const std::lock_guard lock(shared.mutex);
  for (auto& [name, tensor] : items.optimizer().state()) shared.tensors.emplace(name, tensor);
  return ended;
}

/// The training on R ranks; checks that all ranks end alike.
TrainedTable together(const Training& training, int ranks) {
  SharedState shared;
  std::vector<TrainedTable> all(static_cast<std::size_t>(ranks));
  on_ranks(ranks, [&](Communicator& communicator) {
    all[static_cast<std::size_t>(communicator.rank())] = train(training, communicator, shared);
  });
  TrainedTable& first = all.front();
  for (const TrainedTable& ended : all) {
    CHECK(ended.losses == first.losses);
    CHECK(same_bytes(ended.weight, first.weight));
    for (std::size_t i = 0; i < first.state.size(); ++i)
      CHECK(same_bytes(ended.state[i], first.state[i]));
  }
  for (const auto& [name, tensor] : shared.tensors) first.state.push_back(tensor);
  return first;
}

/// The number of tensors that differ.
int differences(const TrainedTable& a, const TrainedTable& b) {
  int different = a.losses != b.losses;
  different += !same_bytes(a.weight, b.weight);
  different += !same_bytes(a.bias, b.bias);
  if (a.state.size() != b.state.size()) return -1;
  for (std::size_t i = 0; i < a.state.size(); ++i) different += !same_bytes(a.state[i], b.state[i]);
  return different;
}

/// The training with a whole table and the library's operations.
TrainedTable whole(const Training& training, const Tensor& weight) {
  Parameter table(weight.clone()), bias(Tensor::zeros({training.items}, training.dtype));
  Linear network = training.network();
  Adam adam({{"weight", &table}, {"bias", &bias, WeightDecay::exempt}}, training.adam);
  Adam of_network(network, {.learning_rate = 0.01});
  TrainedTable ended;
  for (int step = 0; step < training.steps; ++step) {
    const Variable hidden = refrain::tanh(network(embedding(table, training.ids(step))));
    const Tensor targets = training.targets(step);
    const Variable loss = training.sampled
                              ? sampled_softmax_loss(hidden, table, bias, targets,
                                                     training.candidates(step), {.ignored = 0})
                              : softmax_loss(hidden, table, bias, targets, {.ignored = 0});
    backward(loss);
    if (training.max_norm > 0) {
      const double of_table = adam.clip_gradients(INFINITY);
      const double of_others = of_network.clip_gradients(INFINITY);
      const double norm = std::hypot(of_table, of_others);
      CHECK(norm > training.max_norm);
      adam.clip_gradients(training.max_norm * of_table / norm);
      of_network.clip_gradients(training.max_norm * of_others / norm);
      ended.losses.push_back(norm);
    }
    for (Adam* each : {&adam, &of_network}) {
      each->step();
      each->zero_grad();
    }
    ended.losses.push_back(loss.item());
  }
  ended.weight = table.value();
  ended.bias = bias.value();
  return ended;
}

/// The initial table, with the random stream of train().
Tensor initial_weight(const Training& training) {
  const std::unique_ptr<Communicator> communicator = alone();
  Random random(5);
  return ShardedItems(*communicator,
                      {.count = training.items,
                       .width = training.width,
                       .deviation = 0.5,
                       .dtype = training.dtype},
                      random)
      .gather_weight();
}

/// Ids of the own slices whose rows other ranks own, and own rows among the ids of other slices.
std::pair<std::int64_t, std::int64_t> rows_of_others(
    const RowShards& shards, int rank, const std::vector<std::vector<std::int32_t>>& slices) {
  const SliceRange own = SliceTree(std::ssize(slices)).slices_of(rank, shards.ranks());
  std::int64_t asked = 0, answered = 0;
  for (std::int64_t slice = 0; slice < std::ssize(slices); ++slice) {
    const bool is_own = own.begin <= slice && slice < own.end;
    for (const std::int32_t id : slices[static_cast<std::size_t>(slice)]) {
      const bool has_row = shards.rank_of(id) == rank;
      asked += is_own && !has_row;
      answered += !is_own && has_row;
    }
  }
  return {asked, answered};
}

}  // namespace sharded_items_test

using namespace sharded_items_test;

TEST_CASE("sharded items: every row has one place", "[distributed]") {
  for (const std::int64_t rows : {1, 63, 64, 65, 4095, 4096, 4097, 10000}) {
    for (const int ranks : {1, 2, 3, 5, 64}) {
      const RowShards shards(rows, ranks);
      std::vector<std::int64_t> next(RowShards::count, 0);
      bool is_consistent = true;
      for (std::int64_t row = 0; row < rows; ++row) {
        const std::int64_t shard = RowShards::shard_of(row);
        const SliceRange own = shards.shards_of(shards.rank_of(row));
        is_consistent = is_consistent && shard == row / 64 % 64 &&
                        RowShards::index_of(row) == next[static_cast<std::size_t>(shard)]++ &&
                        RowShards::row_of(shard, RowShards::index_of(row)) == row &&
                        own.begin <= shard && shard < own.end;
      }
      CHECK(is_consistent);
      std::int64_t total = 0, from_ten = 0;
      for (std::int64_t shard = 0; shard < RowShards::count; ++shard)
        CHECK(shards.rows_of(shard) == next[static_cast<std::size_t>(shard)]);
      for (int rank = 0; rank < ranks; ++rank) {
        total += shards.rows_of_rank(rank);
        from_ten += shards.rows_of_rank(rank, std::min<std::int64_t>(rows, 10));
      }
      CHECK(total == rows);
      CHECK(from_ten == std::max<std::int64_t>(rows - 10, 0));
    }
  }
  CHECK_THROWS_AS(RowShards(0, 1), OptionError);
  CHECK_THROWS_AS(RowShards(std::int64_t{1} << 31, 1), OptionError);
  CHECK_THROWS_AS(RowShards(10, 0), OptionError);
  CHECK_THROWS_AS(RowShards(10, 65), OptionError);
}

TEST_CASE("sharded items: initial vectors are truncated normal", "[distributed]") {
  const Training training{.items = 20000};
  const Tensor weight = initial_weight(training);
  double squares = 0;
  bool is_within = true;
  for (const float value : weight.span<float>()) {
    squares += static_cast<double>(value) * static_cast<double>(value);
    is_within = is_within && std::abs(value) <= 1;  // two deviations
  }
  CHECK(is_within);
  // Variance of a standard normal number within two deviations: 0.7737.
  CHECK(squares / static_cast<double>(weight.numel()) / 0.25 == Approx(0.7737).epsilon(0.01));
  std::vector<float> first_elements;
  for (std::int64_t row = 0; row < training.items; ++row)
    first_elements.push_back(weight.data<float>()[row * training.width]);
  std::ranges::sort(first_elements);
  const auto repeated =
      first_elements.end() - std::unique(first_elements.begin(), first_elements.end());
  CHECK(repeated < 50);  // of f32 numbers that are drawn 20,000 times
}

TEST_CASE("sharded items: any number of ranks ends with the same bytes",
          "[distributed][train][determinism]") {
  for (const bool sampled : {false, true}) {
    for (const std::int64_t count : {700, 5000}) {
      INFO((sampled ? "sampled, " : "all items, ") << count << " items");
      const Training training{.items = count, .sampled = sampled};
      const TrainedTable expected = together(training, 1);
      CHECK(differences(together(training, 1), expected) == 0);
      for (const int ranks : {2, 3, 4, 5, 8}) {
        INFO(ranks << " ranks");
        CHECK(differences(together(training, ranks), expected) == 0);
      }
      const ThreadCount scope(3);
      CHECK(differences(together(training, 3), expected) == 0);
    }
  }
  CHECK(differences(together({}, 1), together({.slices = 4}, 1)) != 0);
  for (const double max_norm : {0.01, 1e6}) {
    const Training training{.max_norm = max_norm};
    const TrainedTable expected = together(training, 1);
    for (const int ranks : {2, 3, 5}) CHECK(differences(together(training, ranks), expected) == 0);
  }
}

TEST_CASE("sharded items: training gives the table that is not sharded",
          "[distributed][train][law]") {
  for (const bool sampled : {false, true}) {
    Training training{.dtype = DType::f64, .sampled = sampled, .max_norm = 0.01};
    training.adam.epsilon = 0.01;  // a small gradient changes a row little
    const TrainedTable expected = whole(training, initial_weight(training));
    const TrainedTable got = together(training, 3);
    const Tolerance allowed{.relative = 1e-10, .absolute = 1e-12};
    check_close<double>(std::span<const double>(got.losses), expected.losses, allowed);
    check_close<double>(got.weight, doubles(expected.weight), allowed);
    check_close<double>(got.bias, doubles(expected.bias), allowed);
  }
}

TEST_CASE("sharded items: a table of 100,000 items on one and three ranks",
          "[distributed][train][determinism][large]") {
  const Training training{.items = 100000, .width = 32, .rows = 16, .length = 8, .steps = 2};
  CHECK(differences(together(training, 3), together(training, 1)) == 0);
}

TEST_CASE("sharded items: bytes that a rank sends do not depend on the number of items",
          "[distributed]") {
  constexpr std::int64_t width = 8, element = 4, vectors = 30, slices = 4, k = 5;
  const Tensor ids = random_ids(vectors, 9000, 1), targets = random_ids(vectors, 9000, 2);
  const Candidates candidates{
      .ids = random_ids(12, 9000, 3), .log_q_true = {}, .log_q_negative = {}};
  const auto slices_of = [](const Tensor& tensor) {
    std::vector<std::vector<std::int32_t>> all;
    for (std::int64_t slice = 0; slice < slices; ++slice) {
      all.push_back(
          integers(tensor.slice(vectors * slice / slices, vectors * (slice + 1) / slices)));
    }
    return all;
  };
  for (const int ranks : {2, 3, 4}) {
    for (const std::int64_t count : {10000, 100000, 1000000}) {
      INFO(ranks << " ranks, " << count << " items");
      std::vector<std::string> wrong;
      std::mutex mutex;
      on_ranks(ranks, [&](Communicator& communicator) {
        Random random(1);
        ShardedItems items(communicator, {.count = count, .width = width}, random);
        const int rank = communicator.rank();
        const std::int64_t others = ranks - 1;
        const auto own_ids = own_slices(ids, slices, communicator);
        const auto own_targets = own_slices(targets, slices, communicator);
        std::int64_t own = 0, targets_of_rank = 0;
        for (const Tensor& each : own_ids) own += each.numel();
        for (const std::int32_t id : targets.span<std::int32_t>())
          targets_of_rank += items.shards().rank_of(id) == rank;
        const std::int64_t nodes =
            std::ssize(RowShards::tree().nodes(items.shards().shards_of(rank)));
        std::int64_t before = communicator.counts().bytes_sent;
        const auto expect = [&](const char* what, std::int64_t bytes) {
          const std::int64_t after = communicator.counts().bytes_sent;
          if (after - before != bytes) {
            const std::lock_guard lock(mutex);
            wrong.push_back(std::string(what) + ": " + std::to_string(after - before) +
                            " instead of " + std::to_string(bytes));
          }
          before = after;
        };
        const auto [asked, answered] = rows_of_others(items.shards(), rank, slices_of(ids));
        const std::vector<Variable> x = items.look_up(own_ids);
        expect("look_up", 16 * others + 4 * asked + width * element * answered);
        const Variable loss = softmax_loss(x, items, own_targets);
        expect("softmax_loss", 24 * others + own * (width * element + 20) * others +
                                   nodes * (vectors - own) * (width * element + 32));
        backward(loss);
        expect("backward", 0);
        items.step();
        expect("step", width * element * asked);

        std::vector<std::vector<std::int32_t>> distinct = slices_of(targets);
        for (std::vector<std::int32_t>& slice : distinct) {
          const std::vector<std::int32_t> sampled = integers(candidates.ids);
          slice.insert(slice.end(), sampled.begin(), sampled.end());
          std::ranges::sort(slice);
          slice.erase(std::unique(slice.begin(), slice.end()), slice.end());
        }
        const auto [sampled_asked, sampled_answered] =
            rows_of_others(items.shards(), rank, distinct);
        const std::vector<Variable> outputs =
            leaves(own_slices(random_tensor<float>({vectors, width}, 3), slices, communicator));
        const std::vector<Candidates> of_slices(own_ids.size(), candidates);
        backward(sampled_softmax_loss(outputs, items, own_targets, of_slices));
        expect("sampled_softmax_loss", (32 + 8 * std::ssize(own_ids)) * others + 4 * sampled_asked +
                                           (width + 1) * element * sampled_answered);
        items.step();
        expect("step", (width + 1) * element * sampled_asked);

        Tensor hidden({own, width}, DType::f32);
        std::int64_t begin = 0;
        for (const Variable& each : x) {
          hidden.slice(begin, begin + each.size(0)).copy_from(each.value());
          begin += each.size(0);
        }
        top_k(hidden, items, k);
        expect("top_k",
               24 * others + own * width * element * others + k * (element + 4) * (vectors - own));
        Tensor flat({own}, DType::i32);
        begin = 0;
        for (const Tensor& each : own_targets) {
          flat.slice(begin, begin + each.numel()).copy_from(each);
          begin += each.numel();
        }
        rank_targets(hidden, items, flat);
        expect("rank_targets", 24 * others + own * (width * element + 4) * others +
                                   targets_of_rank * element * others + 16 * (vectors - own));
      });
      for (const std::string& each : wrong) FAIL_CHECK(each);
    }
  }
}

TEST_CASE("sharded items: a rank keeps its share of rows and moments", "[distributed][memory]") {
  constexpr std::int64_t count = 200000, width = 15;
  for (const int ranks : {1, 2, 3, 4}) {
    std::vector<std::int64_t> bytes(static_cast<std::size_t>(ranks));
    on_ranks(ranks, [&](Communicator& communicator) {
      Random random(1);
      ShardedItems items(communicator, {.count = count, .width = width}, random);
      const std::vector<Tensor> ids(communicator.rank() == 0 ? 1 : 0, random_ids(5, count, 1));
      const std::vector<Variable> x = items.look_up(ids);
      backward(softmax_loss(x, items, ids));
      items.step();
      bytes[static_cast<std::size_t>(communicator.rank())] = items.bytes();
    });
    constexpr std::int64_t whole_bytes = 3 * count * (width + 1) * 4;
    std::int64_t sum = 0;
    for (const std::int64_t each : bytes) {
      CHECK(std::abs(static_cast<double>(each * ranks) / whole_bytes - 1) < 0.05);
      sum += each;
    }
    CHECK(sum == whole_bytes);
  }
}
