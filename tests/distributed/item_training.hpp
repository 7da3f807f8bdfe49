#pragma once
/// Trains a sharded item table on the ranks of an MPI job.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "refrain/core/random.hpp"
#include "refrain/distributed/agreement.hpp"
#include "refrain/train/content_hash.hpp"
#include "refrain/train/sharded_checkpoint.hpp"
#include "refrain/train/sharded_items.hpp"

namespace refrain::test::items {

struct Run {
  std::int64_t count = 0;  ///< items
  std::int64_t width = 0;
  std::int64_t steps = 0;
  std::string folder = "";  ///< of the checkpoint, which each step saves; empty: none
};

constexpr std::int64_t slices = 8, rows_of_slice = 8;

/// Ids of a slice, small ones more often, below 10,000 in a table of any size, so that the bytes
/// that ranks send in tables of different sizes can be compared.
inline Tensor draw_ids(std::int64_t count, std::int64_t step, std::int64_t slice,
                       std::uint64_t stream) {
  Random random = Random(7).split(stream).split(static_cast<std::uint64_t>(step * slices + slice));
  Tensor ids({rows_of_slice}, DType::i32);
  for (std::int32_t& id : ids.span<std::int32_t>()) {
    const double u = random.uniform();
    id = static_cast<std::int32_t>(u * u * u *
                                   static_cast<double>(std::min<std::int64_t>(count, 10'000)));
  }
  return ids;
}

/// Every third step has the exact softmax, which changes all rows, the others the sampled one.
inline void train_step(ShardedItems& items, std::int64_t step) {
  const Communicator& ranks = items.communicator();
  const SliceRange own = SliceTree(slices).slices_of(ranks.rank(), ranks.size());
  std::vector<Tensor> ids, targets;
  std::vector<Candidates> candidates;
  for (std::int64_t slice = own.begin; slice < own.end; ++slice) {
    ids.push_back(draw_ids(items.count(), step, slice, 1));
    targets.push_back(draw_ids(items.count(), step, slice, 2));
    candidates.push_back(
        {.ids = draw_ids(items.count(), step, slice, 3), .log_q_true = {}, .log_q_negative = {}});
  }
  const std::vector<Variable> x = items.look_up(ids);
  if (step % 3 == 0) {
    backward(softmax_loss(x, items, targets));
  } else {
    backward(sampled_softmax_loss(x, items, targets, candidates));
  }
  items.step();
}

/// A hash of rows, biases and moments, with the same value on any number of ranks.
inline std::string hash_of(ShardedItems& items) {
  const TensorMap state = items.optimizer().state();
  std::string own;
  for (const ShardedItems::Shard& shard : items.own()) {
    TensorMap tensors{{"weight", shard.weight.value()}, {"bias", shard.bias.value()}};
    const std::string name =
        detail::concat(".shard.", shard.number < 10 ? "0" : "", shard.number, ".");
    for (const auto& [key, tensor] : state) {
      if (key.find(name) != std::string::npos) tensors.emplace(key, tensor);
    }
    own += detail::concat(tensors.size(), " tensors ", content_hash(tensors), "\n");
  }
  std::string all;  // the ranks have the shards in order
  for (const auto& bytes : gather_bytes(items.communicator(), std::as_bytes(std::span(own))))
    all.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return content_hash(TensorMap{}, Metadata{{"shards", all}});
}

/// A line of /proc/self/status, such as "RssAnon": kB.
inline std::int64_t memory_kb(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind(field + ":", 0) != 0) continue;
    std::int64_t kb = 0;
    std::istringstream(line.substr(field.size() + 1)) >> kb;
    return kb;
  }
  return 0;
}

/// Trains up to step `steps`, from the checkpoint where there is one, and prints the hash of the
/// table, and for each rank the bytes that it sent in the last steps with each loss and its memory.
inline void train(Communicator& communicator, const Run& run) {
  Random random(1);
  ShardedItems items(communicator,
                     {.count = run.count, .width = run.width, .adam = {.learning_rate = 0.01}},
                     random);
  TrainingState state;
  if (!run.folder.empty() && has_sharded_checkpoint(run.folder))
    state = load_sharded(run.folder, items);
  std::int64_t sent[2] = {0, 0}, memory = 0;  // the largest memory after a step
  for (std::int64_t& step = state.counters["step"]; step < run.steps;) {
    const std::int64_t before = communicator.counts().bytes_sent;
    train_step(items, step);
    sent[step % 3 == 0 ? 0 : 1] = communicator.counts().bytes_sent - before;
    memory = std::max(memory, memory_kb("RssAnon"));
    ++step;
    if (!run.folder.empty()) save_sharded(run.folder, items, state);
  }
  std::printf(
      "rank %d of %d sent %lld bytes in an exact step, %lld in a sampled one; RssAnon %lld kB, "
      "VmHWM %lld kB\n",
      communicator.rank(), communicator.size(), static_cast<long long>(sent[0]),
      static_cast<long long>(sent[1]), static_cast<long long>(memory),
      static_cast<long long>(memory_kb("VmHWM")));
  const std::string hash = hash_of(items);
  if (communicator.rank() == 0)
    std::printf("step %lld: table and moments %s\n", static_cast<long long>(run.steps),
                hash.c_str());
}

}  // namespace refrain::test::items
