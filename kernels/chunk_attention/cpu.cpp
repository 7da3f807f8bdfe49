// Attention over the l hidden vectors of a chunk.
//   forward    s_j = tanh(weight c_j + query),  z_j = score . s_j
//              alpha = softmax(z),  out = sum_j alpha_j c_j
//   backward   dalpha_j = dout . c_j,  dz = alpha (dalpha - sum alpha dalpha)
//              ds_j = dz_j score (1 - s_j^2),  dc_j = alpha_j dout + ds_j weight
//              dweight = sum ds_j^T c_j,  dquery = sum_j ds_j,  dscore = sum dz_j s_j
// 2 l B A H FLOPs forward, twice that backward; each c_j is read twice. Parallel over tiles of
// sequences; sums over sequences in order.

#include <algorithm>
#include <cmath>

#include "kernels/kernel.hpp"
#include "kernels/matmul/outer_products.hpp"
#include "refrain/core/parallel.hpp"
#include "refrain/kernels/chunk_attention.hpp"

namespace refrain::kernels::cpu {
namespace {

constexpr std::int64_t tile = 2 * tile_rows;  // sequences of a task

/// c_j [B,H]: `first`, then the steps of `rest`.
template <class T, class First, class Rest>
auto step_of(const First& first, const Rest& rest, std::int64_t j, std::int64_t elements) {
  return j == 0 ? first.template as<T>() : rest.template as<T>() + (j - 1) * elements;
}

template <class T>
struct ForwardPlan {
  T* packed;
  T* alpha;  ///< one tile for each worker, when alpha is not saved
  T* tanh;

  ForwardPlan(const ChunkAttentionForward& args, Scratch& scratch) {
    const std::int64_t length = args.rest ? args.rest.shape[0] + 1 : 1;
    packed = scratch.take<T>(packed_size<T>(args.weight.shape[1], args.weight.shape[0]));
    alpha = args.alpha ? nullptr : scratch.take<T>(threads() * length * tile);
    tanh = args.tanh ? nullptr : scratch.take<T>(threads() * length * tile * args.weight.shape[0]);
  }
};

template <class T>
void forward(const ChunkAttentionForward& args, Scratch& scratch) {
  const std::int64_t batch = args.first.shape[0];
  const std::int64_t hidden = args.first.shape[1];
  const std::int64_t width = args.weight.shape[0];
  const std::int64_t length = args.rest ? args.rest.shape[0] + 1 : 1;
  const ForwardPlan<T> plan(args, scratch);
  if (scratch.is_counting()) return;
  pack<T>(args.weight.as<T>(), 1, hidden, hidden, width, 0, hidden, plan.packed);
  const T* const score = args.score.as<T>();
  parallel_tasks((batch + tile - 1) / tile, [&](std::int64_t task, int worker) {
    const std::int64_t first = task * tile;
    const std::int64_t count = std::min(tile, batch - first);
    // Rows of step j start at j * stride in alpha and tanh.
    const std::int64_t stride = args.alpha ? batch : tile;
    T* const alpha = args.alpha ? args.alpha.as<T>() + first : plan.alpha + worker * length * tile;
    const std::int64_t tanh_stride = args.tanh ? batch : tile;
    T* const tanhs =
        args.tanh ? args.tanh.as<T>() + first * width : plan.tanh + worker * length * tile * width;
    for (std::int64_t j = 0; j < length; ++j) {
      T* const s = tanhs + j * tanh_stride * width;
      block_product<T>(step_of<T>(args.first, args.rest, j, batch * hidden) + first * hidden,
                       hidden, count, hidden, Panels<T>::packed(plan.packed, hidden), width, s,
                       width, Start<T>::rows(args.query.as<T>() + first * width, width));
      for (std::int64_t r = 0; r < count; ++r) {
        T* const row = s + r * width;
        alpha[j * stride + r] = sum_lanes<T>(width, [&](auto lanes, std::int64_t a) {
          using L = decltype(lanes);
          const auto value = tanh(L::load(row + a));
          L::store(row + a, value);
          return value * L::load(score + a);
        });
      }
    }
    for (std::int64_t r = 0; r < count; ++r) {
      T largest = alpha[r];
      for (std::int64_t j = 1; j < length; ++j) largest = std::max(largest, alpha[j * stride + r]);
      T total = 0;
      for (std::int64_t j = 0; j < length; ++j)
        total += alpha[j * stride + r] = std::exp(alpha[j * stride + r] - largest);
      T* const out = args.out.as<T>() + (first + r) * hidden;
      std::fill_n(out, hidden, T(0));
      for (std::int64_t j = 0; j < length; ++j) {
        const T share = alpha[j * stride + r] /= total;
        const T* const c =
            step_of<T>(args.first, args.rest, j, batch * hidden) + (first + r) * hidden;
        for_lanes<T>(hidden, [&](auto lanes, std::int64_t i) {
          using L = decltype(lanes);
          L::store(out + i, L::load(out + i) + share * L::load(c + i));
        });
      }
    }
  });
}

template <class T>
struct BackwardPlan {
  T* packed;
  T* ds;  ///< [l,B,A]
  T* dz;  ///< [l,B]

  BackwardPlan(const ChunkAttentionBackward& args, Scratch& scratch)
      : packed(scratch.take<T>(packed_size<T>(args.weight.shape[0], args.weight.shape[1]))),
        ds(scratch.take<T>(args.tanh.shape.numel())),
        dz(scratch.take<T>(args.alpha.shape.numel())) {}
};

template <class T>
void backward(const ChunkAttentionBackward& args, Scratch& scratch) {
  const std::int64_t batch = args.first.shape[0];
  const std::int64_t hidden = args.first.shape[1];
  const std::int64_t width = args.weight.shape[0];
  const std::int64_t length = args.alpha.shape[0];
  const BackwardPlan<T> plan(args, scratch);
  if (scratch.is_counting()) return;
  pack<T>(args.weight.as<T>(), hidden, 1, width, hidden, 0, width, plan.packed);
  const T* const score = args.score.as<T>();
  parallel_tasks((batch + tile - 1) / tile, [&](std::int64_t task, int) {
    const std::int64_t first = task * tile;
    const std::int64_t count = std::min(tile, batch - first);
    const auto alpha = [&](std::int64_t j, std::int64_t b) {
      return args.alpha.as<T>()[j * batch + b];
    };
    for (std::int64_t b = first; b < first + count; ++b) {
      const T* const dout = args.dout.as<T>() + b * hidden;
      T mean = 0;
      for (std::int64_t j = 0; j < length; ++j) {
        const T* const c = step_of<T>(args.first, args.rest, j, batch * hidden) + b * hidden;
        const T dalpha = sum_lanes<T>(hidden, [&](auto lanes, std::int64_t i) {
          using L = decltype(lanes);
          return L::load(dout + i) * L::load(c + i);
        });
        plan.dz[j * batch + b] = dalpha;
        mean += alpha(j, b) * dalpha;
      }
      for (std::int64_t j = 0; j < length; ++j) {
        const T dz = alpha(j, b) * (plan.dz[j * batch + b] - mean);
        plan.dz[j * batch + b] = dz;
        const T* const s = args.tanh.as<T>() + (j * batch + b) * width;
        T* const ds = plan.ds + (j * batch + b) * width;
        T* const dquery = args.dquery ? args.dquery.as<T>() + b * width : nullptr;
        for_lanes<T>(width, [&](auto lanes, std::int64_t a) {
          using L = decltype(lanes);
          const auto value = L::load(s + a);
          const auto gradient = dz * L::load(score + a) * (1 - value * value);
          L::store(ds + a, gradient);
          if (dquery != nullptr)
            L::store(dquery + a, j == 0 ? gradient : L::load(dquery + a) + gradient);
        });
      }
    }
    for (std::int64_t j = 0; j < length; ++j) {
      const MutableView& target = j == 0 ? args.dfirst : args.drest;
      if (!target) continue;
      T* const dc = step_of<T>(args.dfirst, args.drest, j, batch * hidden) + first * hidden;
      for (std::int64_t r = 0; r < count; ++r) {
        const T share = alpha(j, first + r);
        const T* const dout = args.dout.as<T>() + (first + r) * hidden;
        for_lanes<T>(hidden, [&](auto lanes, std::int64_t i) {
          using L = decltype(lanes);
          L::store(dc + r * hidden + i, share * L::load(dout + i));
        });
      }
      block_product<T>(plan.ds + (j * batch + first) * width, width, count, width,
                       Panels<T>::packed(plan.packed, width), hidden, dc, hidden,
                       Start<T>::rows(dc, hidden));
    }
  });
  if (args.dweight) {
    T* const dweight = args.dweight.as<T>();
    std::fill_n(dweight, width * hidden, T(0));
    add_outer<T>(plan.ds, width, width, args.first.as<T>(), hidden, batch, dweight);
    if (length > 1) {
      add_outer<T>(plan.ds + batch * width, width, width, args.rest.as<T>(), hidden,
                   (length - 1) * batch, dweight);
    }
  }
  if (args.dscore) {
    T* const dscore = args.dscore.as<T>();
    std::fill_n(dscore, width, T(0));
    for (std::int64_t row = 0; row < length * batch; ++row) {
      const T* const s = args.tanh.as<T>() + row * width;
      for (std::int64_t a = 0; a < width; ++a) dscore[a] += plan.dz[row] * s[a];
    }
  }
}

}  // namespace

template <>
void kernel(const ChunkAttentionForward& args, Scratch& scratch) {
  for_floating<ChunkAttentionForward>(args.first.dtype,
                                      [&]<class T>(T) { forward<T>(args, scratch); });
}
template <>
void kernel(const ChunkAttentionBackward& args, Scratch& scratch) {
  for_floating<ChunkAttentionBackward>(args.first.dtype,
                                       [&]<class T>(T) { backward<T>(args, scratch); });
}
template void entry(const ChunkAttentionForward&, ScratchMemory&);
template void entry(const ChunkAttentionBackward&, ScratchMemory&);

}  // namespace refrain::kernels::cpu
