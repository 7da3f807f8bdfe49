// Pointwise operations on the GPU.  Device: f32, f64.
//   unary_forward       y = function(x)                     2 n elements moved
//   unary_backward      dx = dy function'(x)                3 n
//   linear_combination  out = alpha a + beta b              3 n, or 2 n without b
//   multiply            out = a b, or a times one element   3 n, or 2 n
//   dot                 out = sum_i a_i b_i                 2 n, or n without b, and 8 bytes per
//                                                           4,096 elements
//   dropout             y = x mask / keep                   2 n
// A thread takes 16 bytes of each tensor, or one element when a tensor does not start at a multiple
// of 16 bytes, as a slice may not. A block has 256 threads: the 2,048 threads of a multiprocessor
// then have 32 KiB of loads in flight, which hides the memory latency. There is one thread per
// group and no loop, so that the block scheduler balances the load. Bound by memory bandwidth; the
// arithmetic of dropout's ten rounds of Philox (40 multiplications per four elements) is hidden.
// Any count up to 2^31 - 1 blocks. dot sums in an order that depends only on the count: terms of a
// thread, warps, blocks, without atomics.

#include <cmath>

#include "kernels/kernel.hpp"
#include "kernels/pointwise/cuda.hpp"
#include "kernels/pointwise/kernels.cuh"
#include "refrain/kernels/pointwise.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {
namespace {

/// Threads for `count` elements in groups of n.
constexpr std::int64_t shares(std::int64_t count, int n) { return count / n + count % n; }

/// The launch of a pointwise kernel with this number of threads.
simt::Launch over(const char* name, std::int64_t threads) {
  return {.name = name,
          .grid = simt::blocks_for(threads, pointwise_threads),
          .block = pointwise_threads};
}

template <class Args, class T, class Function>
void launch_map(std::int64_t count, Function function, const T* a, T* out) {
  if (count == 0) return;
  if (simt::aligned_16(a, out)) {
    constexpr int n = simt::Pack<T>::count;
    simt::launch(over(Args::name, shares(count, n)), map_one<n, T, Function>, count, function, a,
                 out);
  } else {
    simt::launch(over(Args::name, count), map_one<1, T, Function>, count, function, a, out);
  }
}

template <class Args, class T, class Function>
void launch_map(std::int64_t count, Function function, const T* a, const T* b, T* out) {
  if (count == 0) return;
  if (simt::aligned_16(a, b, out)) {
    constexpr int n = simt::Pack<T>::count;
    simt::launch(over(Args::name, shares(count, n)), map_two<n, T, Function>, count, function, a, b,
                 out);
  } else {
    simt::launch(over(Args::name, count), map_two<1, T, Function>, count, function, a, b, out);
  }
}

/// Calls visit.template operator()<function>() with the function as a template argument.
template <class Visit>
void for_function(UnaryFunction function, Visit&& visit) {
  switch (function) {
    case UnaryFunction::relu:
      return visit.template operator()<UnaryFunction::relu>();
    case UnaryFunction::gelu:
      return visit.template operator()<UnaryFunction::gelu>();
    case UnaryFunction::sigmoid:
      return visit.template operator()<UnaryFunction::sigmoid>();
    case UnaryFunction::tanh:
      return visit.template operator()<UnaryFunction::tanh>();
  }
}

}  // namespace

template <>
void kernel(const UnaryForward& args) {
  for_floating<UnaryForward>(args.x.dtype, [&]<class T>(T) {
    for_function(args.function, [&]<UnaryFunction function>() {
      launch_map<UnaryForward>(args.x.shape.numel(), Unary<T, function>{}, args.x.as<T>(),
                               args.y.as<T>());
    });
  });
}

template <>
void kernel(const UnaryBackward& args) {
  for_floating<UnaryBackward>(args.x.dtype, [&]<class T>(T) {
    for_function(args.function, [&]<UnaryFunction function>() {
      launch_map<UnaryBackward>(args.x.shape.numel(), UnarySlope<T, function>{}, args.x.as<T>(),
                                args.dy.as<T>(), args.dx.as<T>());
    });
  });
}

template <>
void kernel(const LinearCombination& args) {
  for_floating<LinearCombination>(args.a.dtype, [&]<class T>(T) {
    const T alpha = static_cast<T>(args.alpha);
    const T beta = static_cast<T>(args.beta);
    const std::int64_t count = args.a.shape.numel();
    if (args.b) {
      launch_map<LinearCombination>(count, Combined<T>{alpha, beta}, args.a.as<T>(), args.b.as<T>(),
                                    args.out.as<T>());
    } else {
      launch_map<LinearCombination>(count, Scaled<T>{alpha}, args.a.as<T>(), args.out.as<T>());
    }
  });
}

template <>
void kernel(const Multiply& args) {
  for_floating<Multiply>(args.a.dtype, [&]<class T>(T) {
    const std::int64_t count = args.a.shape.numel();
    if (count != 1 && args.b.shape.numel() == 1) {
      launch_map<Multiply>(count, ProductWithElement<T>{args.b.as<T>()}, args.a.as<T>(),
                           args.out.as<T>());
    } else {
      launch_map<Multiply>(count, Multiplied<T>{}, args.a.as<T>(), args.b.as<T>(),
                           args.out.as<T>());
    }
  });
}

template <>
void kernel(const Dot& args, Scratch& scratch) {
  const std::int64_t blocks = (args.a.shape.numel() + dot_slice - 1) / dot_slice;
  double* const parts = scratch.take<double>(blocks);
  if (scratch.is_counting()) return;
  for_floating<Dot>(args.a.dtype, [&]<class T>(T) {
    if (blocks > 0) {
      const simt::Launch how{
          .name = Dot::name, .grid = simt::blocks_for(blocks, 1), .block = pointwise_threads};
      simt::launch(how, dot_parts<T>, args.a.shape.numel(), args.a.as<T>(), args.b.as<T>(), parts);
    }
    const simt::Launch how{.name = Dot::name, .grid = 1, .block = dot_total_threads};
    simt::launch(how, dot_total<T>, blocks, parts, args.out.as<T>());
  });
}

template <>
void kernel(const Dropout& args) {
  for_floating<Dropout>(args.x.dtype, [&]<class T>(T) {
    const std::int64_t count = args.x.shape.numel();
    if (count == 0) return;
    // An element is kept when word < keep * 2^32; at least one word is.
    const DropoutRule<T> rule{
        .scale = static_cast<T>(1 / args.keep),
        .last_kept = static_cast<std::uint32_t>(std::ceil(args.keep * 0x1p32) - 1),
        .seed = args.seed,
        .stream = args.stream,
        .position = args.position,
        .shift = args.shift ? args.shift.as<std::int64_t>() : nullptr};
    const simt::Launch how = over(Dropout::name, (count + 3) / 4);
    if (simt::aligned_16(args.x.as<T>(), args.y.as<T>())) {
      simt::launch(how, drop<true, T>, count, rule, args.x.as<T>(), args.y.as<T>());
    } else {
      simt::launch(how, drop<false, T>, count, rule, args.x.as<T>(), args.y.as<T>());
    }
  });
}

template void entry(const UnaryForward&, ScratchMemory&);
template void entry(const UnaryBackward&, ScratchMemory&);
template void entry(const LinearCombination&, ScratchMemory&);
template void entry(const Multiply&, ScratchMemory&);
template void entry(const Dot&, ScratchMemory&);
template void entry(const Dropout&, ScratchMemory&);

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
