// Layer normalization over the last axis.
//   forward   y = gamma * normalized + beta,  normalized = (x - mean) * inv_std
//             inv_std = 1 / sqrt(var + epsilon)
//   backward  g = dy * gamma,  dx = inv_std * (g - mean(g) - normalized * mean(g * normalized))
//             dgamma[c] = sum_rows dy * normalized,  dbeta[c] = sum_rows dy
// A task takes a range of rows; one row stays in the first-level cache for its three passes. Each
// block of rows has its own column sums in the scratch memory.

#include "kernels/kernel.hpp"
#include "kernels/layer_norm/normalize.hpp"
#include "kernels/simd.hpp"
#include "kernels/tiling/row_blocks.hpp"
#include "refrain/core/parallel.hpp"
#include "refrain/kernels/layer_norm.hpp"

namespace refrain::kernels::cpu {
namespace {

template <class T>
void forward(const LayerNormForward& args) {
  const std::int64_t width = args.x.shape[-1];
  const T* const gamma = args.gamma.as<T>();
  const T* const beta = args.beta.as<T>();
  parallel_for(
      args.x.shape.rows(), rows_per_task(width), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t row = begin; row < end; ++row) {
          const T* const x = args.x.as<T>() + row * width;
          T* const y = args.y.as<T>() + row * width;
          T* const normalized = args.normalized ? args.normalized.as<T>() + row * width : nullptr;
          const RowMoments<T> moments(x, width, static_cast<T>(args.epsilon));
          if (args.inv_std) args.inv_std.as<T>()[row] = moments.inv_std;
          for_lanes<T>(width, [&]<class L>(L, std::int64_t c) {
            const typename L::Vector n = moments.normalized(L::load(x + c));
            if (normalized != nullptr) L::store(normalized + c, n);
            L::store(y + c, L::load(gamma + c) * n + L::load(beta + c));
          });
        }
      });
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
        const auto g = [gamma = args.gamma.as<T>(), dy]<class L>(L, std::int64_t c) {
          return L::load(dy + c) * L::load(gamma + c);
        };
        normalize_backward(normalized, args.inv_std.as<T>()[row], width, g, g,
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
