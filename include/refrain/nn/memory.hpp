#pragma once

#include <utility>

#include "refrain/nn/dropout.hpp"
#include "refrain/nn/initialize.hpp"
#include "refrain/ops/memory.hpp"
#include "refrain/ops/packed.hpp"
#include "refrain/ops/pointwise.hpp"
#include "refrain/ops/steps.hpp"

namespace refrain {

/// External memory of a differentiable neural computer with one write head. A controller's output o
/// writes to it and reads from it.
///
/// o [B,input] -> interface vector o weight^T -> read vectors [B,heads*word_size] and the memory
/// after the step (memory_step). Parameter: interface [R W + 3 W + 5 R + 3, input] with R = heads,
/// W = word_size, initially truncated normal. In training, dropout keeps the fraction `keep` of the
/// interface vector. Throws OptionError unless input, words, word_size and heads are positive.
/// Source: Graves et al. 2016; CmnRec, section 3.
class Memory final : public Module {
 public:
  struct Options {
    std::int64_t input = 0;      ///< width of the controller's output
    std::int64_t words = 0;      ///< N
    std::int64_t word_size = 0;  ///< W
    std::int64_t heads = 1;      ///< R
    double keep = 1;             ///< fraction of the interface vector kept by dropout in training
    double deviation = 0.1;      ///< standard deviation of the initial weights
  };

  using State = MemoryState;

  /// The interface weight, packed for the time steps of one pass.
  struct Weights {
    PackedWeight interface;
  };

  /// Draws the weights from `random`, and takes a stream of it for dropout.
  Memory(Options options, Random& random, Placement placement = {})
      : options_(checked(options)),
        interface_(initialize::truncated_normal(
            {memory_interface_size(options.heads, options.word_size), options.input},
            options.deviation, random, placement)),
        dropout_({.keep = options.keep}, random.split(random.bits())) {}

  /// The initial memory: words, weightings and read vectors are 1e-6, all other values zero.
  State initial(std::int64_t batch) const {
    const std::int64_t words = options_.words;
    const std::int64_t heads = options_.heads;
    const auto full = [this](const Shape& shape, double value) {
      return Variable(Tensor::full(shape, value, interface_.dtype(), interface_.device()));
    };
    constexpr double trace = 1e-6;
    return {.words = full({batch, words, options_.word_size}, trace),
            .usage = full({batch, words}, 0),
            .precedence = full({batch, words}, 0),
            .link = full({batch, words, words}, 0),
            .write_weighting = full({batch, words}, trace),
            .read_weightings = full({batch, heads, words}, trace),
            .read_vectors = full({batch, heads, options_.word_size}, trace)};
  }

  /// The latest read vectors, concatenated over heads: [B,heads*word_size].
  Variable read(const State& state) const {
    return reshape(state.read_vectors, {state.read_vectors.size(0), read_width()});
  }
  /// Width of the concatenated read vectors, R W.
  std::int64_t read_width() const noexcept { return options_.heads * options_.word_size; }

  /// Packs the interface weight.
  Weights pack() const { return {refrain::pack(interface_)}; }

  /// One write and one read. Throws ShapeError unless o is [B,input] and the state has the sizes of
  /// this memory.
  State step(const Variable& o, const State& state, const Weights& weights) {
    detail::check_rank("Memory::step", "o", o, 2);
    detail::check_shape("Memory::step", "state.words", state.words,
                        {o.size(0), options_.words, options_.word_size});
    detail::check_shape("Memory::step", "state.read_weightings", state.read_weightings,
                        {o.size(0), options_.heads, options_.words});
    return memory_step(dropout_(packed_linear(o, weights.interface)), state);
  }
  State step(const Variable& o, const State& state) { return step(o, state, pack()); }

  const Parameter& interface() const noexcept { return interface_; }
  const Options& options() const noexcept { return options_; }
  Dropout& dropout() noexcept { return dropout_; }

  void visit_members(Visitor& visitor) override {
    visitor.parameter("interface", interface_);
    visitor.module("dropout", dropout_);
  }

 private:
  static const Options& checked(const Options& options) {
    // The limit keeps the width of the interface within 64 bits.
    constexpr std::int64_t max_size = 0x7FFF'FFFF;
    for (const std::int64_t size :
         {options.input, options.words, options.word_size, options.heads}) {
      if (size >= 1 && size <= max_size) continue;
      throw OptionError(detail::concat(
          "Memory: expected input, words, word_size and heads from 1 to ", max_size, ", got ",
          options.input, ", ", options.words, ", ", options.word_size, ", ", options.heads));
    }
    return options;
  }

  Options options_;
  Parameter interface_;
  Dropout dropout_;
};

}  // namespace refrain
