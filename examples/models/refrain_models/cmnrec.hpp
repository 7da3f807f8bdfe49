#pragma once
/// CmnRec and its relatives: a recurrent controller with a memory that is accessed at chunk steps
/// or at every time step (SRMN), and one without memory (LSTM4Rec, GRU4Rec).

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "refrain/data/batches.hpp"
#include "refrain/nn/chunked_memory.hpp"
#include "refrain/nn/embedding.hpp"
#include "refrain/nn/linear.hpp"
#include "refrain/nn/loss.hpp"
#include "refrain/nn/memory.hpp"
#include "refrain/nn/recurrent.hpp"
#include "refrain/nn/shared_padding.hpp"
#include "refrain_models/training_dropout.hpp"

namespace refrain::models {

/// A recurrent network with external memory over a sequence of items.
///
///   o, r = memory_network(embedding(ids))
///   y[b,t,:] = out(o[b,t,:]) + out_memory(r[b,t,:]),   z = head(y)
///
/// ids i32 [B,T] in [0,items) -> features y [B,T,H] -> scores z [B,items] of the item after the
/// last time step, f32 or f64, on the CPU and on a GPU. The schedule lists the time steps at which
/// the memory is read and written: ChunkSchedule::tsc(T, m) and pec(T, m) give CmnRec,
/// ChunkSchedule::every_step(T) gives SRMN.
/// Parameters: embedding.weight [items,E], memory_network.{controller,memory,attention}.*,
/// out.weight [H,H], out_memory.weight [H,R W], head.weight [items,H], head.bias [items].
///
/// With tied tables head.weight is embedding.weight, which is then named once: the features y have
/// width E, and out [E,H] and out_memory [E,R W] are the projections to it. With dropout p a
/// network in training drops elements of the item vectors and of the outputs of every recurrent
/// layer. Throws OptionError for a dropout outside [0,1), ShapeError for ids outside the table and
/// for a schedule of another number of time steps.
/// Source: Qu et al., CmnRec, equations 4 to 12.
template <class Controller>
class CmnRec final : public Module {
 public:
  struct Options {
    std::int64_t items = 0;        ///< number of ids, special ones included
    std::int64_t embedding = 128;  ///< E
    std::int64_t hidden = 256;     ///< H
    std::int64_t words = 9;        ///< N, memory words
    std::int64_t word_size = 256;  ///< W
    std::int64_t heads = 1;        ///< R, read heads
    std::int64_t layers = 1;       ///< layers of the controller
    std::int64_t attention = 64;   ///< width of the chunk attention; 0: no attention (SRMN)
    /// Dropout keeps this fraction of the controller's output and of the memory's interface vector.
    double keep = 1;
    ChunkOrder order = ChunkOrder::paper;
    Recompute recompute = Recompute::none;
    std::int64_t length = 50;  ///< newest items of a history that training and evaluation read
    /// m, time-sensitive chunks of schedule(). 0, or no attention: every time step is a chunk step
    /// (SRMN).
    std::int64_t chunks = 9;
    bool tied = false;   ///< one table for input and output
    double dropout = 0;  ///< probability of dropping an element, in [0,1)

    /// Width of the features.
    std::int64_t features() const noexcept { return tied ? embedding : hidden; }
  };
  using Network = ChunkedMemory<Controller, Memory>;
  using Weights = typename Network::Weights;
  /// The state after some time steps of B sequences: controller, chunk area and memory. No function
  /// modifies a given state, so copies may share tensors.
  using State = typename Network::State;

  CmnRec(const Options& options, Random& random, Placement placement = {})
      : embedding_({.count = options.items, .width = options.embedding, .deviation = 0.05}, random,
                   placement),
        network_(Controller({.in = options.embedding,
                             .hidden = options.hidden,
                             .shared = Shape({options.heads, options.word_size}).numel(),
                             .layers = options.layers,
                             .keep = kept_by_dropout("CmnRec", options.dropout)},
                            random, placement),
                 Memory({.input = options.hidden,
                         .words = options.words,
                         .word_size = options.word_size,
                         .heads = options.heads,
                         .keep = options.keep},
                        random, placement),
                 {.order = options.order,
                  .attention = options.attention,
                  .keep = options.keep * (1 - options.dropout),
                  .recompute = options.recompute},
                 random, placement),
        out_({.in = options.hidden, .out = options.features(), .bias = false, .deviation = 0.1},
             random, placement),
        out_memory_({.in = network_.memory().read_width(),
                     .out = options.features(),
                     .bias = false,
                     .deviation = 0.1},
                    random, placement),
        head_(options.tied ? Linear(embedding_.weight(), true, placement)
                           : Linear({.in = options.hidden, .out = options.items, .deviation = 0.05},
                                    random, placement)),
        embedding_dropout_(training_dropout("CmnRec", options.dropout, random)),
        options_(options) {}

  /// The schedule of loss(batch) and scores(ids), for T = `steps`.
  ChunkSchedule schedule(std::int64_t steps) const {
    if (options_.chunks == 0 || options_.attention == 0) return ChunkSchedule::every_step(steps);
    return ChunkSchedule::tsc(steps, std::min(options_.chunks, steps));
  }

  /// Features of all time steps, time-major: i32 [B,T] -> y [T,B,H] (tied tables: E for H).
  Variable features_by_step(const Tensor& ids, const ChunkSchedule& schedule) {
    const auto result = network_(embed(ids), schedule);
    return add_spans(out_(result.outputs), out_memory_(result.reads), result.span_ends);
  }

  /// Features of all time steps: i32 [B,T] -> y [B,T,H].
  Variable features(const Tensor& ids, const ChunkSchedule& schedule) {
    return swap_batch_time(features_by_step(ids, schedule));
  }

  /// Features of the last time step: i32 [B,T] -> y [B,H]. Throws OptionError unless the schedule
  /// is closed.
  Variable last_features(const Tensor& ids, const ChunkSchedule& schedule, const Weights& weights) {
    return last_features(ids, schedule, network_.initial(ids.size(0)), weights);
  }
  /// last_features() of time steps that follow those of a state.
  Variable last_features(const Tensor& ids, const ChunkSchedule& schedule, State state,
                         const Weights& weights) {
    const auto result = network_.last(embed(ids), schedule, std::move(state), weights);
    return one_step(out_(result.outputs) + out_memory_(result.reads), 0);
  }
  Variable last_features(const Tensor& ids, const ChunkSchedule& schedule) {
    return last_features(ids, schedule, pack());
  }

  /// Softmax cross-entropy over all items, the mean of the targets that are not `ignored`: i32 ids
  /// [B,T], i32 targets [B,T] -> scalar. Rows that begin with the id `ignored` share the time steps
  /// before their first item or target (SharedPadding, on the CPU).
  Variable loss(const Tensor& ids, const Tensor& targets, const ChunkSchedule& schedule,
                std::int32_t ignored = -1) {
    if (const auto shared = SharedPadding::of(ids, targets, ignored, schedule.chunk_steps())) {
      return softmax_loss(features(*shared, ids, schedule), head_, shared->arranged(targets),
                          {.ignored = ignored});
    }
    return softmax_loss(features_by_step(ids, schedule), head_, swap_batch_time(targets),
                        {.ignored = ignored});
  }

  /// loss() of a batch under schedule(T), without its padding targets.
  Variable loss(const SequenceBatch& batch) {
    return loss(batch.ids, batch.targets, schedule(batch.ids.size(1)), padding_id);
  }

  /// loss() of the last time step only: i32 targets [B].
  Variable last_loss(const Tensor& ids, const Tensor& targets, const ChunkSchedule& schedule,
                     std::int64_t ignored = -1) {
    return softmax_loss(last_features(ids, schedule), head_, targets, {.ignored = ignored});
  }

  /// Softmax cross-entropy against sampled items. Targets and candidates.log_q_true are time-major,
  /// [T,B]: see swap_batch_time.
  Variable sampled_loss(const Tensor& ids, const Tensor& targets_by_step,
                        const Candidates& candidates, const ChunkSchedule& schedule,
                        std::int64_t ignored = -1) {
    return sampled_softmax_loss(features_by_step(ids, schedule), head_, targets_by_step, candidates,
                                {.ignored = ignored});
  }

  /// sampled_loss() of the last time step only: targets and candidates.log_q_true [B].
  Variable last_sampled_loss(const Tensor& ids, const Tensor& targets, const Candidates& candidates,
                             const ChunkSchedule& schedule, std::int64_t ignored = -1) {
    return sampled_softmax_loss(last_features(ids, schedule), head_, targets, candidates,
                                {.ignored = ignored});
  }

  /// Scores of all items after the last time step: i32 [B,T] -> [B,items]. Rows that begin with
  /// padding_id share these time steps, with the bits of rows that do not (SharedPadding).
  Tensor scores(const Tensor& ids, const ChunkSchedule& schedule, const Weights& weights) {
    const NoGrad off;
    const auto shared = SharedPadding::for_scores(ids, padding_id, schedule.chunk_steps());
    return head_(shared ? last_features(*shared, ids, schedule, weights)
                        : last_features(ids, schedule, weights))
        .value();
  }
  Tensor scores(const Tensor& ids, const ChunkSchedule& schedule) {
    const NoGrad off;
    return scores(ids, schedule, pack());
  }

  /// scores() under schedule(T).
  Tensor scores(const Tensor& ids) { return scores(ids, schedule(ids.size(1))); }

  /// The state of an empty stream.
  State start() const { return network_.initial(1); }
  /// The state of one stream after the time steps of ids i32 [1,T] that follow a state.
  State advance(const Tensor& ids, const ChunkSchedule& schedule, State state,
                const Weights& weights) {
    const NoGrad off;
    return network_.last(embed(ids), schedule, std::move(state), weights).state;
  }
  /// Scores of all items after the time steps of ids i32 [1,T] that follow a state: [1,items].
  Tensor scores_after(const Tensor& ids, const ChunkSchedule& schedule, State state,
                      const Weights& weights) {
    const NoGrad off;
    return head_(last_features(ids, schedule, std::move(state), weights)).value();
  }

  /// The packed weights, for many calls: valid while the parameters do not change. Weights packed
  /// within NoGrad carry no gradients.
  Weights pack() const { return network_.pack(); }

  const Options& options() const noexcept { return options_; }
  std::int64_t length() const noexcept { return options_.length; }
  Network& network() noexcept { return network_; }

  void visit_members(Visitor& visitor) override {
    visitor.module("embedding", embedding_);
    visitor.module("memory_network", network_);
    visitor.module("out", out_);
    visitor.module("out_memory", out_memory_);
    visitor.module("head", head_);
    if (embedding_dropout_) visitor.module("embedding_dropout", *embedding_dropout_);
  }

 private:
  /// Item vectors, time-major: i32 [B,T] -> [T,B,E].
  Variable embed(const Tensor& ids) { return vectors_of(swap_batch_time(ids)); }
  /// Item vectors: i32 [...] -> [...,E].
  Variable vectors_of(const Tensor& ids) {
    const Variable x = embedding_(ids);
    return embedding_dropout_ ? (*embedding_dropout_)(x) : x;
  }

  /// Features of the M entries of a batch: i32 [B,T] -> y [M,H] (tied tables: E for H).
  Variable features(const SharedPadding& shared, const Tensor& ids, const ChunkSchedule& schedule) {
    const Variable x = vectors_of(shared.arranged(ids));
    const Weights weights = pack();
    State state;
    std::vector<Variable> pieces;
    for (const SharedPadding::Segment& segment : shared.segments()) {
      auto result = network_(segment.of(x), schedule.part(segment.begin, segment.end),
                             segment.start(network_, state), weights);
      const Variable y =
          add_spans(out_(result.outputs), out_memory_(result.reads), result.span_ends);
      pieces.push_back(reshape(y, {segment.steps() * segment.rows, y.size(2)}));
      state = std::move(result.state);
    }
    return concat_steps(pieces);
  }
  /// Features of the last time step of all rows: i32 [B,T] -> [B,H] (tied tables: E for H).
  Variable last_features(const SharedPadding& shared, const Tensor& ids,
                         const ChunkSchedule& schedule, const Weights& weights) {
    const Variable x = vectors_of(shared.arranged(ids));
    typename Network::Result result;
    for (const SharedPadding::Segment& segment : shared.segments())
      result = network_.last(segment.of(x), schedule.part(segment.begin, segment.end),
                             segment.start(network_, result.state), weights);
    return shared.in_order(one_step(out_(result.outputs) + out_memory_(result.reads), 0));
  }

  Embedding embedding_;
  Network network_;
  Linear out_;
  Linear out_memory_;
  Linear head_;
  std::optional<Dropout> embedding_dropout_;
  Options options_;
};

/// A recurrent network over a sequence of items, without memory: LSTM4Rec (Controller = Lstm) and
/// GRU4Rec (Controller = Gru).
///
///   h = dropout(controller(embedding(ids))),   z = head(h)
///
/// ids i32 [B,T] in [0,items) -> h [T,B,H] -> scores z [B,items] of the item after the last time
/// step, f32 or f64, on the CPU and on a GPU. Parameters: embedding.weight [items,E], controller.*,
/// head.weight [items,H], head.bias [items].
///
/// With tied tables head.weight is embedding.weight, which is then named once; where H differs from
/// E a linear projection precedes the head, out.weight [E,H]:  z = head(out(h)). With dropout p a
/// network in training drops elements of the item vectors and of the outputs of every recurrent
/// layer. Throws OptionError for a dropout outside [0,1). Source: Hidasi et al. 2016 (GRU4Rec).
template <class Controller>
class RecurrentRec final : public Module {
 public:
  struct Options {
    std::int64_t items = 0;        ///< number of ids, special ones included
    std::int64_t embedding = 128;  ///< E
    std::int64_t hidden = 256;     ///< H
    std::int64_t layers = 1;
    double keep = 1;           ///< fraction of the controller's output kept by dropout
    std::int64_t length = 50;  ///< newest items of a history that training and evaluation read
    bool tied = false;         ///< one table for input and output
    double dropout = 0;        ///< probability of dropping an element, in [0,1)
  };

  RecurrentRec(const Options& options, Random& random, Placement placement = {})
      : embedding_({.count = options.items, .width = options.embedding, .deviation = 0.05}, random,
                   placement),
        controller_({.in = options.embedding,
                     .hidden = options.hidden,
                     .layers = options.layers,
                     .keep = kept_by_dropout("RecurrentRec", options.dropout)},
                    random, placement),
        dropout_({.keep = options.keep * (1 - options.dropout)}, random.split(random.bits())),
        head_(options.tied ? Linear(embedding_.weight(), true, placement)
                           : Linear({.in = options.hidden, .out = options.items, .deviation = 0.05},
                                    random, placement)),
        options_(options) {
    if (options.tied && options.hidden != options.embedding) {
      out_.emplace(
          Linear::Options{
              .in = options.hidden, .out = options.embedding, .bias = false, .deviation = 0.1},
          random, placement);
    }
    embedding_dropout_ = training_dropout("RecurrentRec", options.dropout, random);
  }

  /// The vectors that the head reads, at all time steps, time-major: i32 [B,T] -> h [T,B,H], or
  /// out(h) [T,B,E].
  Variable features_by_step(const Tensor& ids) { return projected(hidden_by_step(ids)); }

  /// Softmax cross-entropy over all items, the mean of the targets that are not `ignored`: i32 ids
  /// [B,T], i32 targets [B,T] -> scalar. Rows that begin with the id `ignored` share the time steps
  /// before their first item or target (SharedPadding, on the CPU).
  Variable loss(const Tensor& ids, const Tensor& targets, std::int32_t ignored = -1) {
    if (const auto shared = SharedPadding::of(ids, targets, ignored, every_step(ids))) {
      return softmax_loss(features(*shared, ids), head_, shared->arranged(targets),
                          {.ignored = ignored});
    }
    return softmax_loss(features_by_step(ids), head_, swap_batch_time(targets),
                        {.ignored = ignored});
  }

  /// loss() of a batch, without its padding targets.
  Variable loss(const SequenceBatch& batch) { return loss(batch.ids, batch.targets, padding_id); }

  /// Softmax cross-entropy against sampled items; targets and candidates.log_q_true are time-major,
  /// [T,B].
  Variable sampled_loss(const Tensor& ids, const Tensor& targets_by_step,
                        const Candidates& candidates, std::int64_t ignored = -1) {
    return sampled_softmax_loss(features_by_step(ids), head_, targets_by_step, candidates,
                                {.ignored = ignored});
  }

  /// Scores of all items after the last time step: i32 [B,T] -> [B,items]. Rows that begin with
  /// padding_id share these time steps, with the bits of rows that do not (SharedPadding).
  Tensor scores(const Tensor& ids) {
    const NoGrad off;
    return head_(last_features(ids)).value();
  }

  const Options& options() const noexcept { return options_; }
  std::int64_t length() const noexcept { return options_.length; }

  void visit_members(Visitor& visitor) override {
    visitor.module("embedding", embedding_);
    visitor.module("controller", controller_);
    visitor.module("dropout", dropout_);
    if (out_) visitor.module("out", *out_);
    visitor.module("head", head_);
    if (embedding_dropout_) visitor.module("embedding_dropout", *embedding_dropout_);
  }

 private:
  /// h [T,B,H].
  Variable hidden_by_step(const Tensor& ids) {
    return dropout_(controller_.time_major(vectors_of(swap_batch_time(ids))).y);
  }
  /// Item vectors: i32 [...] -> [...,E].
  Variable vectors_of(const Tensor& ids) {
    const Variable x = embedding_(ids);
    return embedding_dropout_ ? (*embedding_dropout_)(x) : x;
  }

  /// Calls function(segment, hidden vectors [L_s,n_s,H]) for the segments of a batch.
  template <class Function>
  void run(const SharedPadding& shared, const Tensor& ids, const Function& function) {
    const Variable x = vectors_of(shared.arranged(ids));
    const typename Controller::Weights weights = controller_.pack();
    const Variable gates =
        one_step(controller_.project(reshape(x, {1, x.size(0), x.size(1)}), weights), 0);
    typename Controller::State state;
    for (const SharedPadding::Segment& segment : shared.segments()) {
      state = segment.start(controller_, state);
      function(segment, controller_.run(segment.of(gates), {}, state, weights));
    }
  }
  /// The vectors that the head reads, of the M entries of a batch: i32 [B,T] -> [M,H] or [M,E].
  Variable features(const SharedPadding& shared, const Tensor& ids) {
    std::vector<Variable> pieces;
    run(shared, ids, [&](const SharedPadding::Segment& segment, const Variable& h) {
      pieces.push_back(reshape(h, {segment.steps() * segment.rows, h.size(2)}));
    });
    return projected(dropout_(concat_steps(pieces)));
  }
  /// The vectors that the head reads at the last time step: i32 [B,T] -> [B,H] or [B,E].
  Variable last_features(const Tensor& ids) {
    const auto shared = SharedPadding::for_scores(ids, padding_id, every_step(ids));
    if (!shared) return projected(one_step(hidden_by_step(ids), -1));
    Variable last;
    run(*shared, ids,
        [&](const SharedPadding::Segment&, const Variable& h) { last = one_step(h, -1); });
    return projected(shared->in_order(dropout_(last)));
  }
  static std::vector<std::int64_t> every_step(const Tensor& ids) {
    std::vector<std::int64_t> steps(static_cast<std::size_t>(ids.size(-1)));
    std::iota(steps.begin(), steps.end(), 0);
    return steps;
  }
  Variable projected(const Variable& h) const { return out_ ? (*out_)(h) : h; }

  Embedding embedding_;
  Controller controller_;
  Dropout dropout_;
  std::optional<Linear> out_;
  std::optional<Dropout> embedding_dropout_;
  Linear head_;
  Options options_;
};

}  // namespace refrain::models
