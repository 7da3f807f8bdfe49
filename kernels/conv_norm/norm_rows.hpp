#pragma once
/// The part of conv_norm that works on single rows, forward and backward, for all steps and for
/// chosen steps.

#include <optional>

#include "kernels/layer_norm/normalize.hpp"
#include "kernels/patch/patch_tile.hpp"
#include "kernels/patch/patch_weight_gradient.hpp"
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

/// The scale and shift of a normalization.
template <class T>
struct NormWeights {
  const T* gamma;
  const T* beta;

  NormWeights(const T* scale, const T* shift) : gamma(scale), beta(shift) {}
  /// Those of a segment: of its row in a bank, or the only ones.
  template <class Args>
  NormWeights(const Args& args, const PatchSegment<T>& segment)
      : gamma(args.gamma.template as<T>()), beta(args.beta.template as<T>()) {
    if (args.gamma.shape.rank() == 2) gamma += segment.row * args.gamma.shape[1];
    if (args.beta.shape.rank() == 2) beta += segment.row * args.beta.shape[1];
  }
};

/// relu(gamma * normalized + beta) (+ residual) of one row h.
template <class T>
void normalize_row(const NormWeights<T>& weights, double epsilon, std::int64_t channels, const T* h,
                   const RowEnds<T>& ends) {
  const RowMoments<T> moments(h, channels, static_cast<T>(epsilon));
  const T* const gamma = weights.gamma;
  const T* const beta = weights.beta;
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
void normalize_row_backward(const Args& args, const NormWeights<T>& weights, std::int64_t row,
                            std::int64_t channels, T* dh, T* dgamma, T* dbeta) {
  const T* const gamma = weights.gamma;
  const T* const beta = weights.beta;
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
  std::int64_t rows_per_sequence;
  PatchSegments<T> segments;
  SegmentBlocks<T> blocks;
  T* dh;  ///< [rows,C] gradient before the normalization
  /// [rows,C] gradient at the convolution's output; equal to dh unless there is a serial patch
  T* dz = nullptr;
  T* dm = nullptr;            ///< [rows,D] in the layout of bottleneck_row()
  T* norm_partial = nullptr;  ///< [blocks, 2C]: dgamma, dbeta
  T* bias_partial = nullptr;
  PatchWeights<T> patch;
  std::optional<PatchWeightGradient<T>> weights;

  ConvNormRowsBackward(const Args& args, const ConvNormNeeds& needs, Scratch& scratch)
      : rows(args.dy.shape.rows()),
        channels(args.dy.shape[2]),
        rows_per_sequence(args.dy.shape[1]),
        segments(args.patch, args.dy.shape[0], scratch),
        blocks(segments, rows_per_sequence, sum_block, scratch),
        dh(scratch.take<T>(rows * channels)) {
    const bool between = needs.patch && args.insertion == Insertion::serial && needs.below;
    dz = between ? scratch.take<T>(rows * channels) : dh;
    if (args.dgamma || args.dbeta) norm_partial = scratch.take<T>(blocks.count() * 2 * channels);
    if (args.dbias) bias_partial = scratch.take<T>(sum_blocks(rows) * channels);
    if (needs.patch) {
      patch = PatchWeights<T>(segments, PatchPass::backward, rows, scratch);
      if (needs.dm) dm = scratch.take<T>(rows * segments.bottleneck());
    }
    if (needs.weights) weights.emplace(args.dpatch, segments, rows_per_sequence, scratch);
  }

  void run(const Args& args) {
    segments.fill();
    blocks.fill();
    if (args.insertion != Insertion::none) patch.fill(segments);
    const T* const m = args.bottleneck.template as<T>();
    parallel_tasks(blocks.count(), [&](std::int64_t block, int worker) {
      T* const dgamma = norm_partial == nullptr ? nullptr : norm_partial + block * 2 * channels;
      T* const dbeta = dgamma == nullptr ? nullptr : dgamma + channels;
      if (dgamma != nullptr) std::fill_n(dgamma, 2 * channels, T(0));
      const auto [index, begin, end] = blocks[block];
      const PatchSegment<T>& segment = segments[index];
      const NormWeights<T> norm(args, segment);
      const bool patched = dm != nullptr && segment.bottleneck > 0;
      const PatchPanels<T> panels = patched ? patch.of(segment, worker) : PatchPanels<T>();
      for (std::int64_t row = begin; row < end; row += tile_rows) {
        const std::int64_t count = std::min<std::int64_t>(tile_rows, end - row);
        T* const dh_tile = dh + row * channels;
        for (std::int64_t i = 0; i < count; ++i) {
          normalize_row_backward<T>(args, norm, row + i, channels, dh_tile + i * channels, dgamma,
                                    dbeta);
        }
        T* dz_tile = nullptr;
        if (dz != dh) {
          dz_tile = dz + row * channels;
          std::copy_n(dh_tile, count * channels, dz_tile);
        }
        if (!patched) continue;
        patch_tile_backward(panels, dh_tile, channels, inner_row(m, segment, row), count,
                            inner_row(dm, segment, row), dz_tile, channels);
      }
    });
    sum_norm(args.dgamma, norm_partial);
    sum_norm(args.dbeta, norm_partial == nullptr ? nullptr : norm_partial + channels);
    if (args.dbias) sum_rows_blocked(dz, rows, channels, bias_partial, args.dbias.template as<T>());
  }

  /// Gradients of the patch; `input`: its input rows.
  void patch_gradients(const Args& args, const T* input) const {
    if (weights) weights->run(input, args.bottleneck.template as<T>(), dm, dh);
  }

  /// Adds the part of a parallel patch to `count` rows of dx from row `first` on, all of one
  /// segment: row i += dh + dm down^T of the output row row_of(i); no change for negative
  /// row_of(i). `zeros`: at least D elements.
  template <class RowOf>
  void pass_patch(const PatchPanels<T>& panels, const PatchSegment<T>& segment, std::int64_t count,
                  const T* zeros, const RowOf& row_of, T* dx) const {
    const T* from[extent(tile_rows)];
    for (std::int64_t i = 0; i < tile_rows; ++i) {
      const std::int64_t row = i < count ? row_of(i) : -1;
      from[i] = row < 0 ? zeros : inner_row(dm, segment, row);
      if (row >= 0) add_row(dx + i * channels, dh + row * channels, channels);
    }
    const std::int64_t width = segment.bottleneck;
    rows_product<T>(from, 1, width, panels.down_t.group(0, width, channels), channels, count, dx,
                    channels, Start<T>::rows(dx, channels));
  }

 private:
  template <class Element>
  Element* inner_row(Element* tensor, const PatchSegment<T>& segment, std::int64_t row) const {
    return bottleneck_row(tensor, segment, segments.bottleneck(), rows_per_sequence, row);
  }

  /// The gradient [C], or of a bank a row for each segment with a patch, from the sums of blocks.
  void sum_norm(const MutableView& wanted, const T* partial) const {
    if (!wanted) return;
    T* const out = wanted.as<T>();
    if (wanted.shape.rank() == 1) {
      sum_partials(partial, blocks.count(), 2 * channels, channels, out);
      return;
    }
    for (std::int64_t i = 0; i < segments.count(); ++i) {
      if (segments[i].gradient < 0) continue;
      const std::int64_t first = blocks.first(i);
      sum_partials(partial + first * 2 * channels, blocks.first(i + 1) - first, 2 * channels,
                   channels, out + segments[i].gradient * channels);
    }
  }
};

}  // namespace refrain::kernels::cpu
