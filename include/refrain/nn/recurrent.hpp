#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "refrain/nn/dropout.hpp"
#include "refrain/nn/initialize.hpp"
#include "refrain/ops/pointwise.hpp"
#include "refrain/ops/recurrent.hpp"
#include "refrain/ops/steps.hpp"

namespace refrain {

/// Options of Lstm and Gru.
struct RecurrentOptions {
  std::int64_t in = 0;
  std::int64_t hidden = 0;
  /// width of a vector that is added to the input and constant over a segment; 0: none
  std::int64_t shared = 0;
  std::int64_t layers = 1;
  double keep = 1;                   ///< fraction kept by dropout between layers, in training
  GruReset reset = GruReset::after;  ///< only for a Gru
  double deviation = 0.05;           ///< standard deviation of the initial weights
};

/// Hidden vectors and, for an LSTM, cells of every layer. A value: copies are independent.
struct RecurrentState {
  std::vector<Variable> h;  ///< [B,H] each
  std::vector<Variable> c;  ///< [B,H] each; empty for a GRU

  /// The state of function(part) for every part [B,...].
  template <class Function>
  RecurrentState map(const Function& function) const {
    RecurrentState result;
    for (const Variable& x : h) result.h.push_back(function(x));
    for (const Variable& x : c) result.c.push_back(function(x));
    return result;
  }

  /// The same values without history.
  RecurrentState detach() const {
    return map([](const Variable& x) { return x.detach(); });
  }
};

/// Recurrent layers over sequences; use `Lstm` or `Gru`.
///
/// [B,T,in] -> [B,T,hidden]. Internally sequences are time-major, [T,B,C], so that a segment of
/// time steps is a slice: the input's part of the gates is one product for all time steps
/// (project), and a segment is one call (run). time_major() takes sequences with this layout.
/// Parameters: layers.*.weight_x [G,in], layers.*.weight_h [G,hidden], layers.*.bias [G], with G =
/// 4 hidden (gates i, f, g, o) or 3 hidden (r, z, n); a Gru also has layers.*.bias_h [G]. With
/// `shared` > 0 the first layer has weight_shared [G,shared]. Initially weights are truncated
/// normal and biases zero, except one for the gates f of an Lstm and r and z of a Gru. Throws
/// OptionError unless all sizes are at least 1, ShapeError for inputs of another shape.
template <bool is_lstm>
class Recurrent final : public Module {
 public:
  using Options = RecurrentOptions;
  using State = RecurrentState;

  /// The packed weights for passes over sequences, valid while the parameters do not change.
  struct Weights {
    std::vector<PackedWeight> x;
    std::vector<PackedWeight> h;
    PackedWeight shared;
  };

  /// Hidden vectors of the last layer for all time steps, and the state after them.
  struct Result {
    Variable y;  ///< [B,T,hidden]; of time_major() [T,B,hidden]
    State state;
  };

  /// Draws the weights from `random`, and takes a stream of it for dropout.
  Recurrent(Options options, Random& random, Placement placement = {})
      : options_(options), dropout_({.keep = options.keep}, random.split(random.bits())) {
    if (options.in < 1 || options.hidden < 1 || options.layers < 1 || options.shared < 0) {
      throw OptionError(detail::concat(
          name(), ": expected in, hidden and layers >= 1 and shared >= 0, got ", options.in, ", ",
          options.hidden, ", ", options.layers, " and ", options.shared));
    }
    for (std::int64_t k = 0; k < options.layers; ++k) {
      layers_.emplace_back(k == 0 ? options.in : options.hidden, k == 0 ? options.shared : 0,
                           options, random, placement);
    }
  }

  /// Width of the hidden vectors.
  std::int64_t width() const noexcept { return options_.hidden; }
  const Options& options() const noexcept { return options_; }

  /// A state of zeros.
  State initial(std::int64_t batch) const {
    State state;
    const Tensor& weight = layers_.front().weight_h.value();
    const auto zeros = [&] {
      return Variable(Tensor::zeros({batch, options_.hidden}, weight.dtype(), weight.device()));
    };
    for (std::size_t k = 0; k < layers_.size(); ++k) {
      state.h.push_back(zeros());
      if (is_lstm) state.c.push_back(zeros());
    }
    return state;
  }

  /// Packs the weights of all layers.
  Weights pack() const {
    Weights weights;
    for (std::size_t k = 0; k < layers_.size(); ++k) {
      weights.h.push_back(refrain::pack(layers_[k].weight_h));
      weights.x.push_back(refrain::pack(layers_[k].weight_x));
    }
    if (options_.shared > 0) weights.shared = refrain::pack(layers_[0].weight_shared);
    return weights;
  }

  /// The input's part of the first layer's gates, bias included: [T,B,in] -> [T,B,G].
  Variable project(const Variable& x, const Weights& weights) const {
    detail::check_rank(name(), "x", x, 3);
    check(weights);
    return packed_linear(x, weights.x[0], layers_[0].bias);
  }

  /// The shared vector's part of the gates: [B,shared] -> [B,G]. Throws OptionError for a layer
  /// without shared input.
  Variable project_shared(const Variable& shared, const Weights& weights) const {
    if (options_.shared == 0)
      throw OptionError(
          detail::concat(name(), ": expected a layer with a shared input, got shared = 0"));
    return packed_linear(shared, weights.shared);
  }

  /// One segment: projected inputs [L,B,G] and shared [B,G] (or undefined) -> hidden vectors of the
  /// last layer [L,B,hidden]. Advances the state. Throws ShapeError and leaves the state unchanged
  /// when state or weights do not belong to this layer.
  Variable run(const Variable& projected, const Variable& shared, State& state,
               const Weights& weights, Recompute recompute = Recompute::none) {
    if (state.h.size() != layers_.size() || state.c.size() != (is_lstm ? layers_.size() : 0)) {
      throw ShapeError(detail::concat(name(), ": expected a state of ", layers_.size(),
                                      " layers, got ", state.h.size()));
    }
    check(weights);
    State next = state;
    Variable y = segment(0, projected, shared, next, weights, recompute);
    for (std::size_t k = 1; k < layers_.size(); ++k) {
      y = segment(k, packed_linear(dropout_(y), weights.x[k], layers_[k].bias), {}, next, weights,
                  recompute);
    }
    state = std::move(next);
    return y;
  }

  /// Hidden vectors of the last layer from a zero state: [B,T,in] -> [B,T,hidden]. Throws
  /// OptionError for a layer with a shared input.
  Variable operator()(const Variable& x) {
    detail::check_rank(name(), "x", x, 3);
    return (*this)(x, initial(x.size(0))).y;
  }
  /// operator() from the state after earlier time steps.
  Result operator()(const Variable& x, State state) {
    detail::check_rank(name(), "x", x, 3);
    Result result = time_major(swapped(x), std::move(state));
    result.y = swapped(result.y);
    return result;
  }

  /// operator() for time-major sequences: [T,B,in] -> [T,B,hidden]. Swapping ids before their
  /// embedding (swap_batch_time) costs less than swapping vectors.
  Result time_major(const Variable& x, State state) {
    if (options_.shared > 0)
      throw OptionError(detail::concat(
          name(), ": expected a layer without a shared input; pass a shared input to run()"));
    Result result{.y = {}, .state = std::move(state)};
    const Weights weights = pack();
    result.y = run(project(x, weights), {}, result.state, weights);
    return result;
  }
  Result time_major(const Variable& x) {
    detail::check_rank(name(), "x", x, 3);
    return time_major(x, initial(x.size(1)));
  }

  /// The last layer's hidden vectors [B,hidden].
  static const Variable& hidden(const State& state) { return state.h.back(); }
  /// Replaces the last layer's hidden vectors.
  static void set_hidden(State& state, Variable hidden) { state.h.back() = std::move(hidden); }

  void visit_members(Visitor& visitor) override {
    visitor.modules("layers", layers_);
    visitor.module("dropout", dropout_);
  }

 private:
  struct Layer final : Module {
    Parameter weight_x;
    Parameter weight_shared;
    Parameter weight_h;
    Parameter bias;
    Parameter bias_h;

    Layer(std::int64_t in, std::int64_t shared, const Options& options, Random& random,
          Placement placement) {
      const std::int64_t gates = Shape({is_lstm ? 4 : 3, options.hidden}).numel();
      weight_x = initialize::truncated_normal({gates, in}, options.deviation, random, placement);
      if (shared > 0)
        weight_shared =
            initialize::truncated_normal({gates, shared}, options.deviation, random, placement);
      weight_h = initialize::truncated_normal({gates, options.hidden}, options.deviation, random,
                                              placement);
      // The biases of the gates f, r and z are one.
      Tensor start = Tensor::zeros({gates}, placement.dtype);
      const std::int64_t first = is_lstm ? options.hidden : 0;
      start.slice(first, 2 * options.hidden).fill(1);
      bias = Parameter(start.to(placement.device));
      if (!is_lstm) bias_h = initialize::constant({gates}, 0, placement);
    }

    void visit_members(Visitor& visitor) override {
      visitor.parameter("weight_x", weight_x);
      visitor.parameter("weight_shared", weight_shared);
      visitor.parameter("weight_h", weight_h);
      visitor.parameter("bias", bias, WeightDecay::exempt);
      visitor.parameter("bias_h", bias_h, WeightDecay::exempt);
    }
  };

  void check(const Weights& weights) const {
    if (weights.x.size() == layers_.size() && weights.h.size() == layers_.size()) return;
    throw ShapeError(detail::concat(name(), ": expected the packed weights of ", layers_.size(),
                                    " layers, got ", weights.h.size()));
  }

  static constexpr const char* name() { return is_lstm ? "Lstm" : "Gru"; }

  /// Swaps batch-major and time-major; for one sequence or one time step the layouts are equal.
  static Variable swapped(const Variable& x) {
    if (x.size(0) == 1 || x.size(1) == 1) return reshape(x, {x.size(1), x.size(0), x.size(2)});
    return swap_batch_time(x);
  }

  Variable segment(std::size_t k, const Variable& inputs, const Variable& shared, State& state,
                   const Weights& weights, Recompute recompute) const {
    Variable y;
    if constexpr (is_lstm) {
      LstmResult result =
          lstm_segment(inputs, shared, weights.h[k], state.h[k], state.c[k], recompute);
      y = std::move(result.h);
      state.c[k] = std::move(result.c);
    } else {
      y = gru_segment(inputs, shared, weights.h[k], layers_[k].bias_h, state.h[k], options_.reset,
                      recompute);
    }
    state.h[k] = one_step(y, -1);
    return y;
  }

  Options options_;
  std::vector<Layer> layers_;
  Dropout dropout_;
};

/// Long short-term memory.  Source: Hochreiter and Schmidhuber 1997, with a forget gate.
using Lstm = Recurrent<true>;
/// Gated recurrent unit, with the reset gate after the product (cuDNN) or before it. Source: Cho et
/// al. 2014.
using Gru = Recurrent<false>;

}  // namespace refrain
