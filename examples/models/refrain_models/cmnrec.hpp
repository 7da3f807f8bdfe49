#pragma once
/// CmnRec and its relatives: a recurrent controller with a memory at chunk steps, at every step
/// (SRMN), or without one (LSTM4Rec, GRU4Rec).

#include <cstdint>
#include <string>
#include <utility>

#include "refrain/nn/chunked_memory.hpp"
#include "refrain/nn/embedding.hpp"
#include "refrain/nn/linear.hpp"
#include "refrain/nn/loss.hpp"
#include "refrain/nn/memory.hpp"
#include "refrain/nn/recurrent.hpp"

namespace refrain::models {

/// A recurrent network with external memory over a sequence of items.
///
///   o, r = chunked memory(embedding(ids)),   y[b,t,:] = out(o[b,t]) + out_memory(r[b,t]),   z = head(y)
///
/// ids i32 [B,T] in [0,items) -> features y [B,T,H] -> scores z [B,items] of the item after the
/// last step. Which steps read and write the memory is the schedule's matter: ChunkSchedule::tsc(T,
/// m) and the like are CmnRec, ChunkSchedule::every_step(T) is SRMN. Parameters: embedding.weight
/// [items,E], memory_network.{controller,memory,attention}.*, out.weight [H,H], out_memory.weight
/// [H,R W], head.weight [items,H], head.bias [items]. Source: Qu et al., CmnRec, equations 4 to 12.
template <class Controller>
class CmnRec final : public Module {
 public:
  struct Options {
    std::int64_t items = 0;  ///< ids in all, special ones included
    std::int64_t embedding = 128;
    std::int64_t hidden = 256;
    std::int64_t words = 9;  ///< N, memory slots
    std::int64_t word_size = 256;
    std::int64_t heads = 1;
    std::int64_t layers = 1;      ///< of the controller
    std::int64_t attention = 64;  ///< width of the chunk attention; 0 for SRMN, which has none
    double keep =
        1;  ///< of dropout on the controller's output and on the memory's interface vector
    ChunkOrder order = ChunkOrder::paper;
    Recompute recompute = Recompute::none;
  };
  using Network = ChunkedMemory<Controller, Memory>;
  using Weights = typename Network::Weights;
  /// What the network remembers of sequences: controller, chunk area and memory. No step changes a
  /// state that it is given, so copies may share their tensors.
  using State = typename Network::State;

  CmnRec(const Options& options, Random& random, Placement placement = {})
      : embedding_({.count = options.items, .width = options.embedding, .deviation = 0.05}, random,
                   placement),
        network_(Controller({.in = options.embedding,
                             .hidden = options.hidden,
                             .shared = Shape({options.heads, options.word_size}).numel(),
                             .layers = options.layers},
                            random, placement),
                 Memory({.input = options.hidden,
                         .words = options.words,
                         .word_size = options.word_size,
                         .heads = options.heads,
                         .keep = options.keep},
                        random, placement),
                 {.order = options.order,
                  .attention = options.attention,
                  .keep = options.keep,
                  .recompute = options.recompute},
                 random, placement),
        out_({.in = options.hidden, .out = options.hidden, .bias = false, .deviation = 0.1}, random,
             placement),
        out_memory_({.in = network_.memory().read_width(),
                     .out = options.hidden,
                     .bias = false,
                     .deviation = 0.1},
                    random, placement),
        head_({.in = options.hidden, .out = options.items, .deviation = 0.05}, random, placement),
        options_(options) {}

  /// Features of all steps, time-major: i32 [B,T] -> [T,B,H].
  Variable features_by_step(const Tensor& ids, const ChunkSchedule& schedule) {
    const auto result = network_(embedding_(swap_batch_time(ids)), schedule);
    return add_spans(out_(result.outputs), out_memory_(result.reads), result.span_ends);
  }

  /// Features of all steps: i32 [B,T] -> [B,T,H].
  Variable features(const Tensor& ids, const ChunkSchedule& schedule) {
    return swap_batch_time(features_by_step(ids, schedule));
  }

  /// Features of the last step: i32 [B,T] -> [B,H].
  Variable last_features(const Tensor& ids, const ChunkSchedule& schedule, const Weights& weights) {
    return last_features(ids, schedule, network_.initial(ids.size(0)), weights);
  }
  /// The same after a state that earlier steps led to.
  Variable last_features(const Tensor& ids, const ChunkSchedule& schedule, State state,
                         const Weights& weights) {
    const auto result =
        network_.last(embedding_(swap_batch_time(ids)), schedule, std::move(state), weights);
    return one_step(out_(result.outputs) + out_memory_(result.reads), 0);
  }
  Variable last_features(const Tensor& ids, const ChunkSchedule& schedule) {
    return last_features(ids, schedule, pack());
  }

  /// Softmax cross-entropy over all items; targets i32 [B,T], of which `ignored` do not count.
  Variable loss(const Tensor& ids, const Tensor& targets, const ChunkSchedule& schedule,
                std::int64_t ignored = -1) {
    return softmax_loss(features_by_step(ids, schedule), head_, swap_batch_time(targets),
                        {.ignored = ignored});
  }

  /// The same for the last step alone; targets i32 [B].
  Variable last_loss(const Tensor& ids, const Tensor& targets, const ChunkSchedule& schedule,
                     std::int64_t ignored = -1) {
    return softmax_loss(last_features(ids, schedule), head_, targets, {.ignored = ignored});
  }

  /// Softmax cross-entropy against sampled items. Targets and candidates.log_q_true are in the
  /// order [T,B]: see swap_batch_time.
  Variable sampled_loss(const Tensor& ids, const Tensor& targets_by_step,
                        const Candidates& candidates, const ChunkSchedule& schedule,
                        std::int64_t ignored = -1) {
    return sampled_softmax_loss(features_by_step(ids, schedule), head_, targets_by_step, candidates,
                                {.ignored = ignored});
  }

  /// The same for the last step alone; targets and candidates.log_q_true [B].
  Variable last_sampled_loss(const Tensor& ids, const Tensor& targets, const Candidates& candidates,
                             const ChunkSchedule& schedule, std::int64_t ignored = -1) {
    return sampled_softmax_loss(last_features(ids, schedule), head_, targets, candidates,
                                {.ignored = ignored});
  }

  /// Scores of all items after the last step: i32 [B,T] -> [B,items].
  Tensor scores(const Tensor& ids, const ChunkSchedule& schedule, const Weights& weights) {
    const NoGrad off;
    return head_(last_features(ids, schedule, weights)).value();
  }
  Tensor scores(const Tensor& ids, const ChunkSchedule& schedule) {
    const NoGrad off;
    return scores(ids, schedule, pack());
  }

  /// Of one stream that has not begun.
  State start() const { return network_.initial(1); }
  /// Where the steps of ids i32 [1,T] lead from a state.
  State advance(const Tensor& ids, const ChunkSchedule& schedule, State state,
                const Weights& weights) {
    const NoGrad off;
    return network_.last(embedding_(swap_batch_time(ids)), schedule, std::move(state), weights)
        .state;
  }
  /// Scores of all items after ids i32 [1,T] that follow a state: [1,items].
  Tensor scores_after(const Tensor& ids, const ChunkSchedule& schedule, State state,
                      const Weights& weights) {
    const NoGrad off;
    return head_(last_features(ids, schedule, std::move(state), weights)).value();
  }

  /// Lays out the weights for many predictions; good as long as the parameters stay as they are.
  /// Within NoGrad for predictions alone.
  Weights pack() const { return network_.pack(); }

  const Options& options() const noexcept { return options_; }
  Network& network() noexcept { return network_; }

  void visit_members(Visitor& visitor) override {
    visitor.module("embedding", embedding_);
    visitor.module("memory_network", network_);
    visitor.module("out", out_);
    visitor.module("out_memory", out_memory_);
    visitor.module("head", head_);
  }

 private:
  Embedding embedding_;
  Network network_;
  Linear out_;
  Linear out_memory_;
  Linear head_;
  Options options_;
};

/// A recurrent network over a sequence of items, without memory: LSTM4Rec (Controller = Lstm) and
/// GRU4Rec (Controller = Gru).
///
///   z = head(controller(embedding(ids)));   i32 [B,T] -> hidden vectors [T,B,H] -> scores [B,items] after the last step
///
/// Parameters: embedding.weight, controller.*, head.weight, head.bias. Source: Hidasi et al. 2016
/// (GRU4Rec).
template <class Controller>
class RecurrentRec final : public Module {
 public:
  struct Options {
    std::int64_t items = 0;
    std::int64_t embedding = 128;
    std::int64_t hidden = 256;
    std::int64_t layers = 1;
    double keep = 1;  ///< of dropout on the controller's output
  };

  RecurrentRec(const Options& options, Random& random, Placement placement = {})
      : embedding_({.count = options.items, .width = options.embedding, .deviation = 0.05}, random,
                   placement),
        controller_({.in = options.embedding, .hidden = options.hidden, .layers = options.layers},
                    random, placement),
        dropout_(options.keep, random.split(random.bits())),
        head_({.in = options.hidden, .out = options.items, .deviation = 0.05}, random, placement),
        options_(options) {}

  /// Hidden vectors of all steps, time-major: i32 [B,T] -> [T,B,H].
  Variable features_by_step(const Tensor& ids) {
    return dropout_(controller_(embedding_(swap_batch_time(ids))).y);
  }

  Variable loss(const Tensor& ids, const Tensor& targets, std::int64_t ignored = -1) {
    return softmax_loss(features_by_step(ids), head_, swap_batch_time(targets),
                        {.ignored = ignored});
  }

  /// Targets and candidates.log_q_true are in the order [T,B].
  Variable sampled_loss(const Tensor& ids, const Tensor& targets_by_step,
                        const Candidates& candidates, std::int64_t ignored = -1) {
    return sampled_softmax_loss(features_by_step(ids), head_, targets_by_step, candidates,
                                {.ignored = ignored});
  }

  /// Scores of all items after the last step: i32 [B,T] -> [B,items].
  Tensor scores(const Tensor& ids) {
    const NoGrad off;
    return head_(one_step(features_by_step(ids), -1)).value();
  }

  const Options& options() const noexcept { return options_; }

  void visit_members(Visitor& visitor) override {
    visitor.module("embedding", embedding_);
    visitor.module("controller", controller_);
    visitor.module("dropout", dropout_);
    visitor.module("head", head_);
  }

 private:
  Embedding embedding_;
  Controller controller_;
  Dropout dropout_;
  Linear head_;
  Options options_;
};

}  // namespace refrain::models
