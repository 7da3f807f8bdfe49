// Pointwise operations. A task takes a range of elements and computes them a vector at a time; the
// remaining elements pass through the same vector code, so that the value of an element does not
// depend on its position. Each input element is read before the output element is written: an
// output may be one of its inputs.

#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/kernel.hpp"
#include "kernels/pointwise/philox.hpp"
#include "kernels/simd.hpp"
#include "kernels/tiling/row_blocks.hpp"
#include "refrain/core/parallel.hpp"
#include "refrain/kernels/pointwise.hpp"

namespace refrain::kernels::cpu {
namespace {

/// Elements with an exponential whose cost outweighs waking a thread.
constexpr std::int64_t exponential_elements = task_elements / 4;

/// A vector of the first `count` elements, then zeros.
template <class T>
typename Lanes<T>::Vector load_part(const T* from, std::int64_t count) {
  std::array<T, extent(Lanes<T>::count)> part{};
  std::copy_n(from, count, part.data());
  return Lanes<T>::load(part.data());
}

/// out[i] = function(in[i]...) on vectors.
template <class T, class Function, class... Inputs>
void map(std::int64_t count, std::int64_t grain, T* out, Function function, const Inputs*... in) {
  using L = Lanes<T>;
  parallel_for(count, grain, [=](std::int64_t begin, std::int64_t end) {
    std::int64_t i = begin;
    for (; i + L::count <= end; i += L::count) L::store(out + i, function(L::load(in + i)...));
    if (i == end) return;
    std::array<T, extent(L::count)> rest;
    L::store(rest.data(), function(load_part(in + i, end - i)...));
    std::copy_n(rest.data(), end - i, out + i);
  });
}

template <class T>
void unary(const UnaryForward& args) {
  using Vector = typename Lanes<T>::Vector;
  const T* x = args.x.as<T>();
  T* y = args.y.as<T>();
  const std::int64_t count = args.x.shape.numel();
  switch (args.function) {
    case UnaryFunction::relu:
      return map(
          count, task_elements, y, [](Vector v) { return v < T{0} ? Vector{} : v; }, x);
    case UnaryFunction::gelu:
      return map(
          count, exponential_elements, y, [](Vector v) { return gelu<T>(v); }, x);
    case UnaryFunction::sigmoid:
      return map(
          count, exponential_elements, y, [](Vector v) { return sigmoid(v); }, x);
    case UnaryFunction::tanh:
      return map(
          count, exponential_elements, y, [](Vector v) { return tanh(v); }, x);
  }
}

template <class T>
void unary_gradient(const UnaryBackward& args) {
  using Vector = typename Lanes<T>::Vector;
  const T* x = args.x.as<T>();
  const T* dy = args.dy.as<T>();
  T* dx = args.dx.as<T>();
  const std::int64_t count = args.x.shape.numel();
  switch (args.function) {
    case UnaryFunction::relu:
      return map(
          count, task_elements, dx, [](Vector v, Vector d) { return v > T{0} ? d : Vector{}; }, x,
          dy);
    case UnaryFunction::gelu:
      return map(
          count, exponential_elements, dx,
          [](Vector v, Vector d) { return d * gelu_derivative<T>(v); }, x, dy);
    case UnaryFunction::sigmoid: {
      const auto slope = [](Vector v, Vector d) {
        const Vector s = sigmoid(v);
        return d * s * (1 - s);
      };
      return map(count, exponential_elements, dx, slope, x, dy);
    }
    case UnaryFunction::tanh: {
      const auto slope = [](Vector v, Vector d) {
        const Vector t = tanh(v);
        return d * (1 - t * t);
      };
      return map(count, exponential_elements, dx, slope, x, dy);
    }
  }
}

/// Length of a slice, whose terms are summed in the element type; slices are added in double in
/// ascending order.
constexpr std::int64_t dot_slice = 4096;

template <class T>
void dot_product(const Dot& args, Scratch& scratch) {
  const std::int64_t count = args.a.shape.numel();
  const std::int64_t slices = (count + dot_slice - 1) / dot_slice;
  double* partial = scratch.take<double>(slices);
  if (scratch.is_counting()) return;
  parallel_for(slices, 4, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t slice = begin; slice < end; ++slice) {
      const T* a = args.a.as<T>() + slice * dot_slice;
      const std::int64_t length = std::min(dot_slice, count - slice * dot_slice);
      if (args.b) {
        const T* b = args.b.as<T>() + slice * dot_slice;
        partial[slice] = sum_lanes<T>(
            length, [=]<class L>(L, std::int64_t i) { return L::load(a + i) * L::load(b + i); });
      } else {
        partial[slice] =
            sum_lanes<T>(length, [=]<class L>(L, std::int64_t i) { return L::load(a + i); });
      }
    }
  });
  const double sum = sum_lanes<double>(
      slices, [=]<class L>(L, std::int64_t slice) { return L::load(partial + slice); });
  *args.out.as<T>() = static_cast<T>(sum);
}

template <class T>
void drop(const Dropout& args) {
  constexpr std::int64_t blocks = 32;
  constexpr std::int64_t batch = 4 * blocks;
  const std::int64_t count = args.x.shape.numel();
  const T scale = static_cast<T>(1 / args.keep);
  // An element is kept when its word is below the limit; at least one word is.
  const double limit = std::ceil(args.keep * 0x1p32);
  const std::uint32_t last_kept = static_cast<std::uint32_t>(limit - 1);
  const std::uint64_t start =
      args.position +
      (args.shift ? static_cast<std::uint64_t>(*args.shift.as<std::int64_t>()) : std::uint64_t{0});
  parallel_for((count + batch - 1) / batch, exponential_elements / batch,
               [&](std::int64_t first, std::int64_t last) {
                 std::array<std::uint32_t, batch> words;
                 std::array<T, batch> kept;
                 for (std::int64_t group = first; group < last; ++group) {
                   for (std::int64_t block = 0; block < blocks; block += philox_positions) {
                     philox_words(args.seed, args.stream,
                                  start + static_cast<std::uint64_t>(group * blocks + block),
                                  words.data() + 4 * block);
                   }
                   const std::int64_t begin = group * batch;
                   const std::int64_t size = std::min(batch, count - begin);
                   const T* x = args.x.as<T>() + begin;
                   for (std::size_t i = 0; i < static_cast<std::size_t>(size); ++i) {
                     // Computed for all elements: a branch on random bits is mispredicted often.
                     const T scaled = x[i] * scale;
                     kept[i] = words[i] <= last_kept ? scaled : T{0};
                   }
                   std::copy_n(kept.begin(), size, args.y.as<T>() + begin);
                 }
               });
}

}  // namespace

template <>
void kernel(const UnaryForward& args) {
  for_floating<UnaryForward>(args.x.dtype, [&]<class T>(T) { unary<T>(args); });
}

template <>
void kernel(const UnaryBackward& args) {
  for_floating<UnaryBackward>(args.x.dtype, [&]<class T>(T) { unary_gradient<T>(args); });
}

template <>
void kernel(const LinearCombination& args) {
  for_floating<LinearCombination>(args.a.dtype, [&]<class T>(T) {
    using Vector = typename Lanes<T>::Vector;
    const std::int64_t count = args.a.shape.numel();
    const T alpha = static_cast<T>(args.alpha);
    const T beta = static_cast<T>(args.beta);
    if (args.b) {
      map(
          count, task_elements, args.out.as<T>(),
          [=](Vector a, Vector b) { return alpha * a + beta * b; }, args.a.as<T>(), args.b.as<T>());
    } else {
      map(
          count, task_elements, args.out.as<T>(), [=](Vector a) { return alpha * a; },
          args.a.as<T>());
    }
  });
}

template <>
void kernel(const Multiply& args) {
  for_floating<Multiply>(args.a.dtype, [&]<class T>(T) {
    using Vector = typename Lanes<T>::Vector;
    const std::int64_t count = args.a.shape.numel();
    if (count != 1 && args.b.shape.numel() == 1) {
      const T factor = *args.b.as<T>();
      map(
          count, task_elements, args.out.as<T>(), [factor](Vector a) { return factor * a; },
          args.a.as<T>());
    } else {
      map(
          count, task_elements, args.out.as<T>(), [](Vector a, Vector b) { return a * b; },
          args.a.as<T>(), args.b.as<T>());
    }
  });
}

template <>
void kernel(const Dot& args, Scratch& scratch) {
  for_floating<Dot>(args.a.dtype, [&]<class T>(T) { dot_product<T>(args, scratch); });
}

template <>
void kernel(const Dropout& args) {
  for_floating<Dropout>(args.x.dtype, [&]<class T>(T) { drop<T>(args); });
}

template void entry(const UnaryForward&, ScratchMemory&);
template void entry(const UnaryBackward&, ScratchMemory&);
template void entry(const LinearCombination&, ScratchMemory&);
template void entry(const Multiply&, ScratchMemory&);
template void entry(const Dot&, ScratchMemory&);
template void entry(const Dropout&, ScratchMemory&);

}  // namespace refrain::kernels::cpu
