#pragma once
/// Multiply-adds of one step of a memory network, which limit the speed-up of chunks.

#include <cstdint>
#include <string_view>

#include "refrain_models/cmnrec.hpp"

namespace refrain::bench {

using MemoryNetwork = models::CmnRec<Lstm>;

/// Kind of a step: inference with scores, or a training loss and its gradients.
enum class StepKind : std::uint8_t {
  infer,          ///< scores of all items at the last step
  train_sampled,  ///< softmax over each step's target and shared negatives
  train_full,     ///< softmax over all items at every step
  train_last      ///< softmax over all items at the last step
};

inline bool is_training(StepKind kind) { return kind != StepKind::infer; }

/// The name of the loss in files and tables.
inline std::string_view loss_name(StepKind kind) {
  switch (kind) {
    case StepKind::train_sampled:
      return "sampled";
    case StepKind::train_full:
      return "full";
    case StepKind::train_last:
      return "last";
    case StepKind::infer:
      break;
  }
  return "none";
}

/// Multiply-adds of one sequence by part.
struct CountedWork {
  double items = 0;      ///< item projections into the gates
  double reads = 0;      ///< projections of the read vectors into the gates
  double recurrent = 0;  ///< recurrent products
  double attention = 0;  ///< over the chunks of more than one step
  double interface = 0;  ///< controller output to interface vector
  double memory = 0;     ///< lookups, links, erasing, writing, reading
  double features = 0;   ///< the two output layers
  double head = 0;       ///< scores of items

  double total() const {
    return items + reads + recurrent + attention + interface + memory + features + head;
  }
};

/// Counts the multiply-adds of one sequence under a schedule. Every product is counted once for
/// each change of its operands:
///
///   items      E 4H a step,   recurrent  H 4H a step,   reads
///       R W 4H for each read vector that steps see: once a chunk
///   attention  l (H A + A + H) + R W A for a chunk of l > 1 steps
///       (keys, scores, sum; query)
///   interface  H (R W + 3 W + 5 R + 3) a chunk step
///   memory     N W (6 + 2 R) + N^2 (2 + 2 R) + (R + 1) W + N (5 + 5 R) a chunk step
///   features   H H a scored step, R W H for each read vector among them
///   head       H for each score: V, or negatives + 1
///
/// Memory, N W: two norms of each word, write and R read lookups, erasing and writing 3, reading R;
/// N^2: links 2, the two link products of each head; the rest: norms of the keys, usage,
/// allocation, precedence, mixing of weightings. Scored steps are all T in training with a loss at
/// every step, else the last. Training counts three times the forward pass: each product has two in
/// its backward pass. Gates, softmax, top-k and the optimizer are not counted.
inline CountedWork counted_work(const MemoryNetwork::Options& sizes, const ChunkSchedule& schedule,
                                StepKind kind, std::int64_t negatives) {
  const auto number = [](std::int64_t count) { return static_cast<double>(count); };
  const double steps = number(schedule.steps());
  const double chunks = number(schedule.chunks());
  const double hidden = number(sizes.hidden);
  const double words = number(sizes.words);
  const double word = number(sizes.word_size);
  const double heads = number(sizes.heads);
  const double width = number(sizes.attention);
  const double read = heads * word;
  const bool all_steps = kind == StepKind::train_sampled || kind == StepKind::train_full;

  CountedWork work;
  work.items = steps * number(sizes.embedding) * 4 * hidden;
  work.reads = (chunks + (schedule.is_closed() ? 0 : 1)) * read * 4 * hidden;
  work.recurrent = steps * hidden * 4 * hidden;
  double spans = schedule.is_closed() ? 0 : 1;
  std::int64_t before = 0;
  for (const std::int64_t step : schedule.chunk_steps()) {
    const double length = number(step - before);
    if (length > 1) work.attention += length * (hidden * width + width + hidden) + read * width;
    // The features of a chunk step use the vectors read at it, those of earlier steps the previous
    // vectors.
    if (before == 0)
      spans += length > 1 ? 2 : 1;
    else
      spans += 1;
    before = step;
  }
  work.interface = chunks * hidden * (read + 3 * word + 5 * heads + 3);
  work.memory = chunks * (words * word * (6 + 2 * heads) + words * words * (2 + 2 * heads) +
                          (heads + 1) * word + words * (5 + 5 * heads));
  work.features =
      all_steps ? steps * hidden * hidden + spans * read * hidden : hidden * hidden + read * hidden;
  const double scores =
      kind == StepKind::train_sampled ? number(negatives + 1) : number(sizes.items);
  work.head = (all_steps ? steps : 1) * hidden * scores;
  if (is_training(kind)) {
    for (double* part : {&work.items, &work.reads, &work.recurrent, &work.attention,
                         &work.interface, &work.memory, &work.features, &work.head}) {
      *part *= 3;
    }
  }
  return work;
}

/// The limit of the speed-up over memory access at every time step, by counted work.
inline double counted_bound(const MemoryNetwork::Options& sizes, const ChunkSchedule& schedule,
                            StepKind kind, std::int64_t negatives) {
  const ChunkSchedule every = ChunkSchedule::every_step(schedule.steps());
  return counted_work(sizes, every, kind, negatives).total() /
         counted_work(sizes, schedule, kind, negatives).total();
}

}  // namespace refrain::bench
