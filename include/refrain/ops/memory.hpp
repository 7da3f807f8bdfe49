#pragma once
/// One write and one read of an external memory.  Dtypes f32, f64.

#include <utility>

#include "refrain/kernels/memory.hpp"
#include "refrain/ops/check.hpp"

namespace refrain {

/// The state of a memory for a batch of B sequences: N words of W elements, R read heads.
struct MemoryState {
  Variable words;            ///< [B,N,W]
  Variable usage;            ///< [B,N]
  Variable precedence;       ///< [B,N]
  Variable link;             ///< [B,N,N]
  Variable write_weighting;  ///< [B,N]
  Variable read_weightings;  ///< [B,R,N]
  Variable read_vectors;     ///< [B,R,W]: the last read; the next memory step does not use them

  /// The state of function(part) for every part [B,...].
  template <class Function>
  MemoryState map(const Function& function) const {
    MemoryState result = *this;
    result.visit([&](const char*, Variable& part) { part = function(part); });
    return result;
  }

  /// The same values without history.
  MemoryState detach() const {
    return map([](const Variable& part) { return part.detach(); });
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

namespace detail {

inline void check_memory(const char* op, const Variable& interface, const MemoryState& memory) {
  check_rank(op, "interface", interface, 2);
  check_rank(op, "words", memory.words, 3);
  check_rank(op, "read_weightings", memory.read_weightings, 3);
  const std::int64_t batch = memory.words.size(0);
  const std::int64_t words = memory.words.size(1);
  const std::int64_t heads = memory.read_weightings.size(1);
  if (words < 1 || memory.words.size(2) < 1 || heads < 1) {
    throw ShapeError(detail::concat(
        op, ": expected at least one word, one element and one read head, got words ",
        memory.words.shape(), " and read_weightings ", memory.read_weightings.shape()));
  }
  check_shape(op, "usage", memory.usage, {batch, words});
  check_shape(op, "precedence", memory.precedence, {batch, words});
  check_shape(op, "link", memory.link, {batch, words, words});
  check_shape(op, "write_weighting", memory.write_weighting, {batch, words});
  check_shape(op, "read_weightings", memory.read_weightings, {batch, heads, words});
  check_shape(op, "interface", interface,
              {batch, memory_interface_size(heads, memory.words.size(2))});
  check_like(op, interface, memory.words, memory.usage, memory.precedence, memory.link,
             memory.write_weighting, memory.read_weightings);
}

/// The tensors of a memory that the next memory step reads.
struct MemoryTensors {
  Tensor words, usage, precedence, link, write_weighting, read_weightings;

  // NOLINTBEGIN(google-explicit-constructor): as a Tensor
  operator kernels::MemoryViews<View>() const {
    return {words, usage, precedence, link, write_weighting, read_weightings};
  }
  operator kernels::MemoryViews<MutableView>() & {
    return {words, usage, precedence, link, write_weighting, read_weightings};
  }
  // NOLINTEND(google-explicit-constructor)
};

}  // namespace detail

/// One write to a memory and one read from it, controlled by the interface vector
/// (kernels::MemoryStepForward defines its parts and the formulas).
///
/// interface [B, R W + 3 W + 5 R + 3], raw -> the memory after the step with its read vectors.
/// `before` is not changed; its read vectors may be undefined. Throws ShapeError, DTypeError,
/// DeviceError. Source: Graves et al. 2016, "Hybrid computing using a neural network with dynamic
/// external memory", with one write head.
inline MemoryState memory_step(const Variable& interface, const MemoryState& before) {
  constexpr const char* op = "memory_step";
  detail::check_memory(op, interface, before);
  const detail::MemoryTensors old{before.words.value(),           before.usage.value(),
                                  before.precedence.value(),      before.link.value(),
                                  before.write_weighting.value(), before.read_weightings.value()};
  detail::MemoryTensors after{empty_like(old.words),           empty_like(old.usage),
                              empty_like(old.precedence),      empty_like(old.link),
                              empty_like(old.write_weighting), empty_like(old.read_weightings)};
  const std::int64_t heads = old.read_weightings.size(1);
  Tensor reads = empty_like(old.words, {old.words.size(0), heads, old.words.size(2)});
  kernels::run(kernels::MemoryStepForward{
      .interface = interface, .before = old, .after = after, .read_vectors = reads});
  auto [words, usage, precedence, link, write_weighting, read_weightings, read_vectors] = record(
      op,
      {after.words, after.usage, after.precedence, after.link, after.write_weighting,
       after.read_weightings, reads},
      {interface, before.words, before.usage, before.precedence, before.link,
       before.write_weighting, before.read_weightings},
      [interface = interface.value(), old, after](
          const Tensor& dwords_after, const Tensor& dusage_after, const Tensor& dprecedence_after,
          const Tensor& dlink_after, const Tensor& dwrite_weighting_after,
          const Tensor& dread_weightings_after, const Tensor& dread_vectors,  //
          auto& dinterface, auto& dwords, auto& dusage, auto& dprecedence, auto& dlink,
          auto& dwrite_weighting, auto& dread_weightings) {
        kernels::run(kernels::MemoryStepBackward{
            .interface = interface,
            .before = old,
            .after = after,
            .dafter = {dwords_after, dusage_after, dprecedence_after, dlink_after,
                       dwrite_weighting_after, dread_weightings_after},
            .dread_vectors = dread_vectors,
            .dinterface = dinterface,
            .dbefore = {dwords, dusage, dprecedence, dlink, dwrite_weighting, dread_weightings}});
      });
  return {std::move(words),       std::move(usage),           std::move(precedence),
          std::move(link),        std::move(write_weighting), std::move(read_weightings),
          std::move(read_vectors)};
}

}  // namespace refrain
