#pragma once
/// One write and one read of an external memory.  Dtypes f32, f64.

#include <utility>

#include "refrain/ops/check.hpp"

namespace refrain {

/// What a memory of N words of W elements with R read heads holds for a batch of B sequences.
struct MemoryState {
  Variable words;            ///< [B,N,W]
  Variable usage;            ///< [B,N]
  Variable precedence;       ///< [B,N]
  Variable link;             ///< [B,N,N]
  Variable write_weighting;  ///< [B,N]
  Variable read_weightings;  ///< [B,R,N]
  Variable read_vectors;     ///< [B,R,W]: the latest read; the next step does not depend on them

  /// The same values without their history.
  MemoryState detach() const {
    return {words.detach(),           usage.detach(),           precedence.detach(),  link.detach(),
            write_weighting.detach(), read_weightings.detach(), read_vectors.detach()};
  }

  /// Calls function(name, part) for every part, in the order above.
  template <class Function>
  void visit(Function&& function) {
    visit_parts(*this, function);
  }
  template <class Function>
  void visit(Function&& function) const {
    visit_parts(*this, function);
  }

 private:
  template <class Self, class Function>
  static void visit_parts(Self& self, Function& function) {
    function("words", self.words);
    function("usage", self.usage);
    function("precedence", self.precedence);
    function("link", self.link);
    function("write_weighting", self.write_weighting);
    function("read_weightings", self.read_weightings);
    function("read_vectors", self.read_vectors);
  }
};

/// Length of the interface vector of a memory with `heads` read heads and words of `word_size`
/// elements: R W + 3 W + 5 R + 3.
constexpr std::int64_t memory_interface_size(std::int64_t heads, std::int64_t word_size) {
  return heads * word_size + 3 * word_size + 5 * heads + 3;
}

namespace ops {

inline void check_memory(const char* op, const Variable& interface, const MemoryState& memory) {
  check_rank(op, "interface", interface, 2);
  check_rank(op, "words", memory.words, 3);
  check_rank(op, "read_weightings", memory.read_weightings, 3);
  const std::int64_t batch = memory.words.size(0);
  const std::int64_t words = memory.words.size(1);
  const std::int64_t heads = memory.read_weightings.size(1);
  if (words < 1 || memory.words.size(2) < 1 || heads < 1) {
    throw ShapeError(
        concat(op, ": expected at least one word, one element and one read head, got words ",
               memory.words.shape(), " and read_weightings ", memory.read_weightings.shape()));
  }
  check_shape(op, "usage", memory.usage, {batch, words});
  check_shape(op, "precedence", memory.precedence, {batch, words});
  check_shape(op, "link", memory.link, {batch, words, words});
  check_shape(op, "write_weighting", memory.write_weighting, {batch, words});
  check_shape(op, "read_weightings", memory.read_weightings, {batch, heads, words});
  check_shape(op, "interface", interface,
              {batch, memory_interface_size(heads, memory.words.size(2))});
  check_like(op, interface,
             {&memory.words, &memory.usage, &memory.precedence, &memory.link,
              &memory.write_weighting, &memory.read_weightings});
}

/// The tensors that a step depends on, or their gradients.
struct MemoryTensors {
  Tensor words, usage, precedence, link, write_weighting, read_weightings;

  kernels::MemoryViews<View> views() const {
    const auto view = [](const Tensor& tensor) {
      return tensor.defined() ? tensor.view() : View();
    };
    return {view(words), view(usage),           view(precedence),
            view(link),  view(write_weighting), view(read_weightings)};
  }
  kernels::MemoryViews<MutableView> mutable_views() {
    return {mutable_view_of(words),           mutable_view_of(usage),
            mutable_view_of(precedence),      mutable_view_of(link),
            mutable_view_of(write_weighting), mutable_view_of(read_weightings)};
  }
};

}  // namespace ops

/// Writes to a memory and reads from it, as the interface vector says (see
/// kernels::MemoryStepForward for its parts and the formulas).
///
/// interface [B, R W + 3 W + 5 R + 3], raw -> the memory after the step with its read vectors.
/// `before` is not changed; its read vectors may be undefined. Throws ShapeError, DTypeError,
/// DeviceError.
/// Source: Graves et al. 2016, "Hybrid computing using a neural network with dynamic external
/// memory", with one write head.
inline MemoryState memory_step(const Variable& interface, const MemoryState& before) {
  constexpr const char* op = "memory_step";
  ops::check_memory(op, interface, before);
  const ops::MemoryTensors old{before.words.value(),           before.usage.value(),
                               before.precedence.value(),      before.link.value(),
                               before.write_weighting.value(), before.read_weightings.value()};
  ops::MemoryTensors after{
      ops::empty_like(before.words),           ops::empty_like(before.usage),
      ops::empty_like(before.precedence),      ops::empty_like(before.link),
      ops::empty_like(before.write_weighting), ops::empty_like(before.read_weightings)};
  const Shape vectors{before.words.size(0), before.read_weightings.size(1), before.words.size(2)};
  Tensor read_vectors(vectors, interface.dtype(), interface.device());
  kernels::table(interface.device())
      .memory_step_forward({.interface = interface.value().view(),
                            .before = old.views(),
                            .after = after.mutable_views(),
                            .read_vectors = read_vectors.mutable_view()});
  std::array<Tensor, 7> values{after.words, after.usage,           after.precedence,
                               after.link,  after.write_weighting, after.read_weightings,
                               read_vectors};
  auto [words, usage, precedence, link, write_weighting, read_weightings, reads] = record<7>(
      op, std::move(values),
      {interface, before.words, before.usage, before.precedence, before.link,
       before.write_weighting, before.read_weightings},
      [control = interface.value(), old, after](const std::array<Tensor, 7>& dy,
                                                InputGradients& in) {
        const auto wanted = [&in](int index, const Tensor& like) {
          return in.wants(index) ? Tensor(like.shape(), like.dtype(), like.device()) : Tensor();
        };
        const ops::MemoryTensors dafter{dy[0], dy[1], dy[2], dy[3], dy[4], dy[5]};
        Tensor dcontrol = wanted(0, control);
        ops::MemoryTensors dbefore{wanted(1, old.words),           wanted(2, old.usage),
                                   wanted(3, old.precedence),      wanted(4, old.link),
                                   wanted(5, old.write_weighting), wanted(6, old.read_weightings)};
        kernels::table(control.device())
            .memory_step_backward({.interface = control.view(),
                                   .before = old.views(),
                                   .after = after.views(),
                                   .dafter = dafter.views(),
                                   .dread_vectors = dy[6].defined() ? dy[6].view() : View(),
                                   .dinterface = ops::mutable_view_of(dcontrol),
                                   .dbefore = dbefore.mutable_views()});
        int index = 0;
        for (Tensor* gradient :
             {&dcontrol, &dbefore.words, &dbefore.usage, &dbefore.precedence, &dbefore.link,
              &dbefore.write_weighting, &dbefore.read_weightings}) {
          if (gradient->defined()) in.add(index, std::move(*gradient));
          ++index;
        }
      });
  return {std::move(words), std::move(usage),           std::move(precedence),
          std::move(link),  std::move(write_weighting), std::move(read_weightings),
          std::move(reads)};
}

}  // namespace refrain
