// Layer normalization over the last axis.
//   forward   y = gamma * normalized + beta,  normalized = (x - mean) * inv_std,  inv_std = 1 / sqrt(var + epsilon)
//   backward  g = dy * gamma,  dx = inv_std * (g - mean(g) - normalized * mean(g * normalized))
//             dgamma[c] = sum_rows dy * normalized,  dbeta[c] = sum_rows dy
// A task takes a run of rows; one row stays in the first-level cache for its three passes. Each
// block of rows keeps its own column sums in the scratch memory.

#include <cmath>

#include "kernels/kernel.hpp"
#include "kernels/simd.hpp"
#include "kernels/tiling/row_blocks.hpp"
#include "refrain/core/parallel.hpp"
#include "refrain/kernels/layer_norm.hpp"

namespace refrain::kernels::cpu {
namespace {

/// Mean and 1 / sqrt(var + epsilon) of one row, the variance from the centred values.
template <class T>
struct Moments {
  Moments(const T* x, std::int64_t width, T epsilon) {
    const T count = static_cast<T>(width);
    mean = sum_lanes<T>(width, [&]<class L>(L, std::int64_t c) { return L::load(x + c); }) / count;
    const T squares = sum_lanes<T>(width, [&]<class L>(L, std::int64_t c) {
      const auto centred = L::load(x + c) - mean;
      return centred * centred;
    });
    inv_std = T{1} / std::sqrt(squares / count + epsilon);
  }

  T mean;
  T inv_std;
};

template <class T>
void forward(const LayerNormForward& args) {
  const std::int64_t width = args.x.shape[-1];
  const T* __restrict gamma = args.gamma.as<T>();
  const T* __restrict beta = args.beta.as<T>();
  parallel_for(args.x.shape.rows(), rows_per_task(width),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t row = begin; row < end; ++row) {
                   const T* __restrict x = args.x.as<T>() + row * width;
                   T* __restrict y = args.y.as<T>() + row * width;
                   const auto [mean, inv_std] = Moments<T>(x, width, static_cast<T>(args.epsilon));
                   if (args.inv_std) args.inv_std.as<T>()[row] = inv_std;
                   if (args.normalized) {
                     T* __restrict normalized = args.normalized.as<T>() + row * width;
                     for (std::int64_t c = 0; c < width; ++c) {
                       normalized[c] = (x[c] - mean) * inv_std;
                       y[c] = gamma[c] * normalized[c] + beta[c];
                     }
                   } else {
                     for (std::int64_t c = 0; c < width; ++c)
                       y[c] = gamma[c] * ((x[c] - mean) * inv_std) + beta[c];
                   }
                 }
               });
}

template <class T>
void backward_row(const T* __restrict gamma, const T* __restrict normalized, const T* __restrict dy,
                  T inv_std, std::int64_t width, T* __restrict dx) {
  const T count = static_cast<T>(width);
  const T mean =
      sum_lanes<T>(
          width, [&]<class L>(L, std::int64_t c) { return L::load(dy + c) * L::load(gamma + c); }) /
      count;
  const T slope =
      sum_lanes<T>(width,
                   [&]<class L>(L, std::int64_t c) {
                     return L::load(dy + c) * L::load(gamma + c) * L::load(normalized + c);
                   }) /
      count;
  for (std::int64_t c = 0; c < width; ++c)
    dx[c] = inv_std * (dy[c] * gamma[c] - mean - normalized[c] * slope);
}

template <class T>
void backward(const LayerNormBackward& args, Scratch& scratch) {
  const std::int64_t rows = args.dy.shape.rows();
  const std::int64_t width = args.dy.shape[-1];
  const RowBlocks blocks(rows, width, 2);
  const bool want_sums = static_cast<bool>(args.dgamma) || static_cast<bool>(args.dbeta);
  T* partial = scratch.take<T>(blocks.elements());
  if (scratch.is_counting()) return;
  parallel_tasks(blocks.count(), [&](std::int64_t block, int) {
    T* __restrict dgamma = partial + block * blocks.stride();
    T* __restrict dbeta = dgamma + width;
    if (want_sums) std::fill_n(dgamma, 2 * width, T{0});
    for (std::int64_t row = blocks.begin(block); row < blocks.end(block); ++row) {
      const T* __restrict normalized = args.normalized.as<T>() + row * width;
      const T* __restrict dy = args.dy.as<T>() + row * width;
      if (args.dx) {
        backward_row(args.gamma.as<T>(), normalized, dy, args.inv_std.as<T>()[row], width,
                     args.dx.as<T>() + row * width);
      }
      if (!want_sums) continue;
      for (std::int64_t c = 0; c < width; ++c) {
        dgamma[c] += dy[c] * normalized[c];
        dbeta[c] += dy[c];
      }
    }
  });
  if (args.dgamma) blocks.add_up(partial, width, args.dgamma.as<T>());
  if (args.dbeta) blocks.add_up(partial + width, width, args.dbeta.as<T>());
}

}  // namespace

template <>
void kernel(const LayerNormForward& args) {
  for_floating<LayerNormForward>(args.x.dtype, [&]<class T>(T) { forward<T>(args); });
}

template <>
void kernel(const LayerNormBackward& args, Scratch& scratch) {
  for_floating<LayerNormBackward>(args.dy.dtype, [&]<class T>(T) { backward<T>(args, scratch); });
}

template void entry(const LayerNormForward&, ScratchMemory&);
template void entry(const LayerNormBackward&, ScratchMemory&);

}  // namespace refrain::kernels::cpu
