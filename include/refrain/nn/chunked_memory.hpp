#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "refrain/nn/chunk_attention.hpp"
#include "refrain/nn/chunk_schedule.hpp"
#include "refrain/nn/dropout.hpp"
#include "refrain/ops/pointwise.hpp"
#include "refrain/ops/recurrent.hpp"
#include "refrain/ops/steps.hpp"

namespace refrain {

/// The order of operations at a chunk step i; C is the chunk area, r the read vectors.
enum class ChunkOrder : std::uint8_t {
  /// C holds h of the time steps before i; a = attention(C, r) replaces h_{i-1}; then o_i =
  /// controller(x_i, r, a) (Algorithm 1)
  paper,
  /// o_i = controller(x_i, r, h_{i-1}); C holds h up to i; a = attention(C, r) replaces h_i for the
  /// next time step
  reference_code
};

/// A recurrent controller with an external memory that is written and read only at the chunk steps
/// of a schedule.
///
/// Between two chunk steps the read vectors are constant: the controller runs over the whole
/// segment in one call, and the read vectors' part of its gates is computed once. At a chunk step
/// an attention reduces the hidden vectors of the chunk to one that replaces the hidden vector of
/// the controller, the memory is written and read with the controller's output o, and the chunk
/// area is emptied. When every time step is a chunk step this is the plain memory network: a chunk
/// of one hidden vector needs no attention.
///
/// [T,B,E] (time-major) -> outputs o [T,B,H] and the read vectors r [S,B,F] of each span of time
/// steps. Parameters: controller.*, memory.*, attention.*.
///
/// Controller: `Lstm`, `Gru`, or a type with the same State, Weights, initial, pack, project,
/// project_shared, run, hidden, set_hidden and width. Memory: `Memory`, or a type with the same
/// State, Weights, initial, pack, read, read_width and step. Source: CmnRec, Algorithm 1.
template <class Controller, class Memory>
class ChunkedMemory final : public Module {
 public:
  struct Options {
    ChunkOrder order = ChunkOrder::paper;
    /// width of the chunk attention; 0: no attention, which requires chunks of one hidden vector
    std::int64_t attention = 64;
    double keep = 1;  ///< fraction of the outputs o that dropout keeps in training
    /// segments: the backward pass recomputes the controller's gates
    Recompute recompute = Recompute::none;
    double deviation = 0.1;  ///< standard deviation of the attention's initial weights
  };

  /// The state that later time steps depend on. A value: copies are independent.
  struct State {
    typename Controller::State controller;
    typename Memory::State memory;
    Variable chunk;  ///< the chunk area: hidden vectors [l,B,H]; undefined when empty

    /// The state of function(part) for every part [B,...]; the chunk area is a part for each of
    /// its time steps.
    template <class Function>
    State map(const Function& function) const {
      State result{controller.map(function), memory.map(function), {}};
      if (!chunk.defined()) return result;
      std::vector<Variable> area;
      for (std::int64_t step = 0; step < chunk.size(0); ++step)
        area.push_back(as_step(function(one_step(chunk, step))));
      result.chunk = concat_steps(area);
      return result;
    }

    /// The same values without history.
    State detach() const {
      return {controller.detach(), memory.detach(), chunk.defined() ? chunk.detach() : Variable()};
    }
  };

  /// The packed weights for passes over sequences, valid while the parameters do not change. A call
  /// without this argument packs them itself; a server that answers one sequence at a time packs
  /// once.
  struct Weights {
    typename Controller::Weights controller;
    typename Memory::Weights memory;
  };
  /// Packs the weights of controller and memory.
  Weights pack() const { return {controller_.pack(), memory_.pack()}; }

  /// The results of a pass over T time steps.
  struct Result {
    Variable outputs;  ///< o [T,B,H], or only the last one [1,B,H]
    Variable reads;    ///< read vectors [S,B,F] of the S spans, or only the last ones [1,B,F]
    /// span k holds the time steps from the end of the previous span up to span_ends[k]
    std::vector<std::int64_t> span_ends;
    State state;
  };

  ChunkedMemory(Controller controller, Memory memory, Options options, Random& random,
                Placement placement = {})
      : controller_(std::move(controller)),
        memory_(std::move(memory)),
        dropout_({.keep = options.keep}, random.split(random.bits())),
        options_(options) {
    if (options.attention > 0) {
      attention_.emplace(ChunkAttention::Options{.hidden = controller_.width(),
                                                 .read = memory_.read_width(),
                                                 .width = options.attention,
                                                 .deviation = options.deviation},
                         random, placement);
    }
  }

  /// The state before the first time step of `batch` sequences.
  State initial(std::int64_t batch) const {
    State state{controller_.initial(batch), memory_.initial(batch), {}};
    if (options_.order == ChunkOrder::paper)
      state.chunk = as_step(controller_.hidden(state.controller));
    return state;
  }

  /// Runs T time steps from a state. Throws ShapeError unless x is [T,B,E] with T >= 1 of the
  /// schedule.
  Result operator()(const Variable& x, const ChunkSchedule& schedule, State state,
                    const Weights& weights) {
    return run(x, schedule, std::move(state), true, weights);
  }
  Result operator()(const Variable& x, const ChunkSchedule& schedule, State state) {
    return run(x, schedule, std::move(state), true, pack());
  }
  Result operator()(const Variable& x, const ChunkSchedule& schedule) {
    detail::check_rank("ChunkedMemory", "x", x, 3);
    return run(x, schedule, initial(x.size(1)), true, pack());
  }

  /// operator() that returns outputs and reads of the last time step only.
  Result last(const Variable& x, const ChunkSchedule& schedule, State state,
              const Weights& weights) {
    return run(x, schedule, std::move(state), false, weights);
  }
  Result last(const Variable& x, const ChunkSchedule& schedule, State state) {
    return run(x, schedule, std::move(state), false, pack());
  }
  Result last(const Variable& x, const ChunkSchedule& schedule) {
    detail::check_rank("ChunkedMemory", "x", x, 3);
    return run(x, schedule, initial(x.size(1)), false, pack());
  }

  Controller& controller() noexcept { return controller_; }
  Memory& memory() noexcept { return memory_; }
  const Options& options() const noexcept { return options_; }
  Dropout& dropout() noexcept { return dropout_; }

  void visit_members(Visitor& visitor) override {
    visitor.module("controller", controller_);
    visitor.module("memory", memory_);
    if (attention_) visitor.module("attention", *attention_);
    visitor.module("dropout", dropout_);
  }

 private:
  /// The hidden vectors of the current chunk, as pieces [k,B,H].
  using Chunk = std::vector<Variable>;

  /// One pass over a sequence.
  struct Pass {
    Variable projected;  ///< the inputs' part of the gates, all time steps
    const Weights& weights;
    State state;
    Chunk chunk{};
    Variable read{};    ///< current read vectors [B,F]
    Variable shared{};  ///< their part of the gates
    std::vector<Variable> outputs{};
    std::vector<Variable> reads{};
    std::vector<std::int64_t> span_ends{};
  };

  static Variable as_step(const Variable& x) { return reshape(x, {1, x.size(0), x.size(1)}); }
  static Variable as_rows(const Variable& x) { return reshape(x, {x.size(1), x.size(2)}); }

  /// Replaces the hidden vector of the controller by the attention over a chunk of more than one.
  void attend(Pass& pass, const Chunk& chunk) {
    if (chunk.size() == 1 && chunk[0].size(0) == 1) return;
    if (!attention_) {
      throw OptionError(
          "ChunkedMemory: expected an attention for a chunk of several time steps, got attention = "
          "0");
    }
    Variable first;
    Variable rest;
    if (chunk.size() == 2 && chunk[0].size(0) == 1) {
      first = as_rows(chunk[0]);
      rest = chunk[1];
    } else {
      const Variable all = concat_steps(chunk);
      first = one_step(all, 0);
      rest = slice_steps(all, 1, all.size(0));
    }
    controller_.set_hidden(pass.state.controller, (*attention_)(first, rest, pass.read));
  }

  /// Runs the controller over the time steps [begin, end) with the current read vectors, and adds
  /// its hidden vectors to the chunk.
  Variable segment(Pass& pass, std::int64_t begin, std::int64_t end) {
    if (!pass.shared.defined())
      pass.shared = controller_.project_shared(pass.read, pass.weights.controller);
    const Variable hidden =
        controller_.run(slice_steps(pass.projected, begin, end), pass.shared, pass.state.controller,
                        pass.weights.controller, options_.recompute);
    pass.chunk.push_back(hidden);
    return hidden;
  }

  /// Runs the ordinary time steps [begin, step) and the chunk step `step`, counted from 0.
  void run_slice(Pass& pass, std::int64_t begin, std::int64_t step) {
    Variable output;
    if (options_.order == ChunkOrder::paper) {
      if (step > begin) pass.outputs.push_back(dropout_(segment(pass, begin, step)));
      attend(pass, std::exchange(pass.chunk, {}));
      output = dropout_(segment(pass, step, step + 1));
    } else {
      output = dropout_(segment(pass, begin, step + 1));
      attend(pass, std::exchange(pass.chunk, {}));
    }
    pass.outputs.push_back(output);
    pass.state.memory = memory_.step(one_step(output, -1), pass.state.memory, pass.weights.memory);
  }

  /// Records that the current read vectors are valid up to time step `end`.
  static void end_span(Pass& pass, std::int64_t end) {
    if (end == (pass.span_ends.empty() ? 0 : pass.span_ends.back())) return;
    pass.reads.push_back(as_step(pass.read));
    pass.span_ends.push_back(end);
  }

  Result run(const Variable& x, const ChunkSchedule& schedule, State initial, bool all,
             const Weights& weights) {
    detail::check_rank("ChunkedMemory", "x", x, 3);
    const std::int64_t steps = x.size(0);
    if (steps != schedule.steps() || steps == 0) {
      throw ShapeError(
          detail::concat("ChunkedMemory: expected x [T,B,E] with the steps of the schedule (",
                         schedule.text(), "), got ", x.shape()));
    }
    Pass pass{.projected = controller_.project(x, weights.controller),
              .weights = weights,
              .state = std::move(initial)};
    if (pass.state.chunk.defined()) pass.chunk.push_back(std::exchange(pass.state.chunk, {}));
    pass.read = memory_.read(pass.state.memory);
    std::int64_t begin = 0;
    for (const std::int64_t chunk : schedule.chunk_steps()) {
      run_slice(pass, begin, chunk - 1);
      end_span(
          pass,
          chunk - 1);  // the output of the chunk step belongs to the vectors that were read at it
      pass.read = memory_.read(pass.state.memory);
      pass.shared = {};
      begin = chunk;
    }
    if (begin < steps) pass.outputs.push_back(dropout_(segment(pass, begin, steps)));
    end_span(pass, steps);

    Result result;
    if (all) {
      result.outputs = concat_steps(pass.outputs);
      result.reads = concat_steps(pass.reads);
      result.span_ends = std::move(pass.span_ends);
    } else {
      const Variable& piece = pass.outputs.back();
      result.outputs = slice_steps(piece, piece.size(0) - 1, piece.size(0));
      result.reads = pass.reads.back();
      result.span_ends = {1};
    }
    if (!pass.chunk.empty()) pass.state.chunk = concat_steps(pass.chunk);
    result.state = std::move(pass.state);
    return result;
  }

  Controller controller_;
  Memory memory_;
  std::optional<ChunkAttention> attention_;
  Dropout dropout_;
  Options options_;
};

}  // namespace refrain
