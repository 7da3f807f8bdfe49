#pragma once
/// The part of conv_norm that works on single rows, forward and backward, for all steps and for
/// chosen steps.

#include <optional>

#include "kernels/layer_norm/normalize.hpp"
#include "kernels/patch/patch_tile.hpp"
#include "refrain/kernels/conv_norm.hpp"

namespace refrain::kernels::cpu {

/// The tensors of one row; null when not used.
template <class T>
struct RowEnds {
  const T* residual;
  T* y;
  T* normalized;
  T* inv_std;
};

/// relu(gamma * normalized + beta) (+ residual) of one row h.
template <class T, class Args>
void normalize_row(const Args& args, std::int64_t channels, const T* h, const RowEnds<T>& ends) {
  const RowMoments<T> moments(h, channels, static_cast<T>(args.epsilon));
  const T* const gamma = args.gamma.template as<T>();
  const T* const beta = args.beta.template as<T>();
  for_lanes<T>(channels, [&]<class L>(L, std::int64_t c) {
    const typename L::Vector n = moments.normalized(L::load(h + c));
    if (ends.normalized != nullptr) L::store(ends.normalized + c, n);
    const typename L::Vector scaled = L::load(gamma + c) * n + L::load(beta + c);
    typename L::Vector out = scaled < 0 ? L::broadcast(0) : scaled;
    if (ends.residual != nullptr) out += L::load(ends.residual + c);
    L::store(ends.y + c, out);
  });
  if (ends.inv_std != nullptr) *ends.inv_std = moments.inv_std;
}

/// Row `row` of a tensor, or null when the view is empty.
template <class T, class AnyView>
auto row_of(const AnyView& view, std::int64_t row, std::int64_t width) {
  auto* const first = view.template as<T>();
  return first == nullptr ? first : first + row * width;
}

/// The tensors that the requested gradients require.
struct ConvNormNeeds {
  bool patch, below, dm, weights;

  template <class Args>
  explicit ConvNormNeeds(const Args& args)
      : patch(args.insertion != Insertion::none),
        below(args.dx || args.dw || args.dbias),
        dm(patch && (args.dpatch.down || args.dpatch.down_bias ||
                     (below && (args.insertion == Insertion::serial || args.dx)))),
        weights(patch && (args.dpatch.down || args.dpatch.down_bias || args.dpatch.up ||
                          args.dpatch.up_bias)) {}
};

/// dh = inv_std * (g - mean(g) - normalized * mean(g * normalized)), g = gamma * dy where the ReLU
/// was open; adds to dgamma, dbeta.
template <class T, class Args>
void normalize_row_backward(const Args& args, std::int64_t row, std::int64_t channels, T* dh,
                            T* dgamma, T* dbeta) {
  const T* const gamma = args.gamma.template as<T>();
  const T* const beta = args.beta.template as<T>();
  const T* const n = args.normalized.template as<T>() + row * channels;
  const T* const dy = args.dy.template as<T>() + row * channels;
  const auto first = [&]<class L>(L, std::int64_t c) {
    using Vector = typename L::Vector;
    const Vector scale = L::load(gamma + c);
    const Vector unit = L::load(n + c);
    const Vector open = scale * unit + L::load(beta + c) > 0 ? L::load(dy + c) : L::broadcast(0);
    if (dgamma != nullptr) {
      L::store(dgamma + c, L::load(dgamma + c) + open * unit);
      L::store(dbeta + c, L::load(dbeta + c) + open);
    }
    const Vector g = open * scale;
    L::store(dh + c, g);
    return g;
  };
  const auto again = [dh]<class L>(L, std::int64_t c) { return L::load(dh + c); };
  normalize_backward(n, args.inv_std.template as<T>()[row], channels, first, again, dh);
}

/// The backward pass down to the convolution, row by row: dh through ReLU and normalization, dm
/// through the patch, and dz, the gradient of the output of the convolution; then the sums over
/// rows of normalization, bias and patch.
template <class T, class Args>
struct ConvNormRowsBackward {
  std::int64_t rows, channels;
  T* dh;  ///< [rows,C] gradient before the normalization
  /// [rows,C] gradient at the convolution's output; equal to dh unless there is a serial patch
  T* dz = nullptr;
  T* dm = nullptr;            ///< [rows,D]
  T* norm_partial = nullptr;  ///< [blocks, 2C]: dgamma, dbeta
  T* bias_partial = nullptr;
  PatchPanels<T> patch;
  std::optional<PatchWeightGradient<T>> weights;

  ConvNormRowsBackward(const Args& args, const ConvNormNeeds& needs, Scratch& scratch)
      : rows(args.dy.shape.rows()),
        channels(args.dy.shape[2]),
        dh(scratch.take<T>(rows * channels)) {
    const bool between = needs.patch && args.insertion == Insertion::serial && needs.below;
    dz = between ? scratch.take<T>(rows * channels) : dh;
    if (args.dgamma || args.dbeta) norm_partial = scratch.take<T>(sum_blocks(rows) * 2 * channels);
    if (args.dbias) bias_partial = scratch.take<T>(sum_blocks(rows) * channels);
    if (needs.patch) {
      patch = PatchPanels<T>(args.patch, true, rows, scratch);
      if (needs.dm) dm = scratch.take<T>(rows * patch.bottleneck);
    }
    if (needs.weights) weights.emplace(args.dpatch, rows, channels, patch.bottleneck, scratch);
  }

  void run(const Args& args) const {
    if (args.insertion != Insertion::none) patch.fill(args.patch);
    const std::int64_t width = patch.bottleneck;
    const T* const m = args.bottleneck.template as<T>();
    parallel_tasks(sum_blocks(rows), [&](std::int64_t block, int) {
      T* const dgamma = norm_partial == nullptr ? nullptr : norm_partial + block * 2 * channels;
      T* const dbeta = dgamma == nullptr ? nullptr : dgamma + channels;
      if (dgamma != nullptr) std::fill_n(dgamma, 2 * channels, T(0));
      const std::int64_t end = std::min(rows, (block + 1) * sum_block);
      for (std::int64_t row = block * sum_block; row < end; row += tile_rows) {
        const std::int64_t count = std::min<std::int64_t>(tile_rows, end - row);
        T* const dh_tile = dh + row * channels;
        for (std::int64_t i = 0; i < count; ++i) {
          normalize_row_backward<T>(args, row + i, channels, dh_tile + i * channels, dgamma, dbeta);
        }
        if (dm == nullptr) continue;
        T* dz_tile = nullptr;
        if (dz != dh) {
          dz_tile = dz + row * channels;
          std::copy_n(dh_tile, count * channels, dz_tile);
        }
        patch_tile_backward(patch, dh_tile, channels, m + row * width, count, dm + row * width,
                            dz_tile, channels);
      }
    });
    if (args.dgamma)
      sum_partials(norm_partial, sum_blocks(rows), 2 * channels, channels,
                   args.dgamma.template as<T>());
    if (args.dbeta)
      sum_partials(norm_partial + channels, sum_blocks(rows), 2 * channels, channels,
                   args.dbeta.template as<T>());
    if (args.dbias) sum_rows_blocked(dz, rows, channels, bias_partial, args.dbias.template as<T>());
  }

  /// Gradients of the patch; `input`: its input rows.
  void patch_gradients(const Args& args, const T* input) const {
    if (weights) weights->run(input, args.bottleneck.template as<T>(), dm, dh);
  }

  /// Adds the part of a parallel patch to `count` rows of dx: row i += dh + dm down^T of the output
  /// row row_of(i); no change for negative row_of(i). `zeros`: at least D elements.
  template <class RowOf>
  void pass_patch(std::int64_t count, const T* zeros, const RowOf& row_of, T* dx) const {
    const std::int64_t width = patch.bottleneck;
    const T* from[extent(tile_rows)];
    for (std::int64_t i = 0; i < tile_rows; ++i) {
      const std::int64_t row = i < count ? row_of(i) : -1;
      from[i] = row < 0 ? zeros : dm + row * width;
      if (row >= 0) add_row(dx + i * channels, dh + row * channels, channels);
    }
    rows_product<T>(from, 1, width, patch.down_t.group(0, width, channels), channels, count, dx,
                    channels, Start<T>::rows(dx, channels));
  }
};

}  // namespace refrain::kernels::cpu
