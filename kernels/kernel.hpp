#pragma once
/// Definitions for kernel files: the two forms of a kernel, its entry in the table of its device,
/// and the dispatch on the element type. A CPU file, in namespace refrain::kernels::cpu:
///
///   template <>
///   void kernel(const Multiply& args) { ... }
///
///   template <>
///   void kernel(const Dot& args, Scratch& scratch) {
///     double* const parts = scratch.take<double>(count);
///     if (scratch.is_counting()) return;
///     ...
///   }
///
///   template void entry(const Multiply&, ScratchMemory&);
///   template void entry(const Dot&, ScratchMemory&);
///
/// The second form runs twice: once to count the scratch memory, once on the memory.

#include "kernels/backend.hpp"
#include "kernels/entries.hpp"
#include "kernels/scratch.hpp"
#include "refrain/core/dtype.hpp"
#include "refrain/core/error.hpp"

namespace refrain::kernels {

/// Throws DTypeError unless the element type is f32 or f64.
template <class Args>
void check_floating(DType dtype) {
  if (!is_floating(dtype))
    throw DTypeError(refrain::detail::concat(Args::name, ": expected f32 or f64, got ", dtype));
}

/// Calls function(float{}) or function(double{}). Throws DTypeError for another element type.
template <class Args, class Function>
void for_floating(DType dtype, Function&& function) {
  check_floating<Args>(dtype);
  dtype == DType::f32 ? function(float{}) : function(double{});
}

namespace cpu {

template <class Args>
void kernel(const Args& args) = delete;
template <class Args>
void kernel(const Args& args, Scratch& scratch) = delete;

template <class Args>
void entry(const Args& args, ScratchMemory& memory) {
  if constexpr (requires { kernel(args); }) {
    kernel(args);
  } else {
    static_assert(
        requires(Scratch & scratch) { kernel(args, scratch); },
        "only the file with the contract's kernel instantiates its entry");
    with_scratch(memory, [&](Scratch& scratch) { kernel(args, scratch); });
  }
}

}  // namespace cpu

namespace cuda {
inline namespace REFRAIN_SIMT_BACKEND {

template <class Args>
void kernel(const Args& args) = delete;
template <class Args>
void kernel(const Args& args, Scratch& scratch) = delete;

template <class Args>
void entry(const Args& args, ScratchMemory& memory) {
  if constexpr (requires { kernel(args); }) {
    kernel(args);
  } else {
    static_assert(
        requires(Scratch & scratch) { kernel(args, scratch); },
        "only the file with the contract's kernel instantiates its entry");
    with_scratch(memory, [&](Scratch& scratch) { kernel(args, scratch); });
  }
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace cuda
}  // namespace refrain::kernels
