/// Half a residual block on the CPU: convolution, patch, LayerNorm, ReLU and residual in one pass.
///
/// forward, per tile of tile_rows rows (all channels), in first-level cache:
///   h = sum of taps + bias -> patch -> mean and variance -> normalize -> ReLU -> + residual -> y
/// backward:
///   1. per row: dh through ReLU and normalization, dm through the patch, dz = gradient of the
///      output of the convolution
///   2. dx: the adjoint of the convolution applied to dz, plus the part of a parallel patch
///   3. the requested weight gradients
/// 2 K C^2 + 4 C D FLOPs per row forward; x, y, residual and the saved tensors pass through memory
/// once.

#include "kernels/causal_conv/taps.hpp"
#include "kernels/conv_norm/norm_rows.hpp"
#include "kernels/kernel.hpp"
#include "refrain/kernels/conv_norm.hpp"

namespace refrain::kernels::cpu {
namespace {

template <class T>
struct ForwardPlan {
  WeightPanels<T> weights;
  T* zeros;
  T* tile;              ///< per worker [tile_rows, C]
  T* hidden = nullptr;  ///< per worker [tile_rows, D]
  PatchSegments<T> segments;
  PatchWeights<T> patch;

  ForwardPlan(const ConvNormForward& args, const ConvExtents& conv, Scratch& scratch)
      : weights(WeightPanels<T>::plan(args.w.as<T>(), conv.taps * conv.in, conv.out, conv.rows(),
                                      scratch)),
        zeros(scratch.take<T>(conv.in)),
        tile(scratch.take<T>(threads() * tile_rows * conv.out)),
        segments(args.patch, conv.batch, scratch) {
    if (args.insertion == Insertion::none) return;
    patch = PatchWeights<T>(segments, PatchPass::forward, conv.rows(), scratch);
    hidden = scratch.take<T>(threads() * tile_rows * segments.bottleneck());
  }
};

ConvExtents extents_of(const ConvNormForward& args) {
  return conv_extents(args.x.shape, args.w.shape, args.dilation, args.padding);
}

template <class T>
void forward(const ConvNormForward& args, Scratch& scratch) {
  const ConvExtents conv = extents_of(args);
  const std::int64_t channels = conv.out;
  ForwardPlan<T> plan(args, conv, scratch);
  if (scratch.is_counting()) return;
  if (plan.weights.packed) pack_taps(args.w.as<T>(), conv, false, plan.weights.storage());
  std::fill_n(plan.zeros, channels, T(0));
  plan.segments.fill();
  plan.patch.fill(plan.segments);
  const std::int64_t width = plan.segments.bottleneck();
  const std::int64_t step =
      product_rows_per_task(conv.rows(), conv.multiply_adds() + plan.patch.multiply_adds());
  parallel_tasks((conv.rows() + step - 1) / step, [&](std::int64_t task, int worker) {
    T* const tile = plan.tile + worker * tile_rows * channels;
    T* const hidden = plan.hidden + worker * tile_rows * width;
    PatchCursor<T> cursor(plan.patch, worker);
    const std::int64_t end = std::min(conv.rows(), (task + 1) * step);
    for (std::int64_t row = task * step; row < end; row += tile_rows) {
      const std::int64_t count = std::min<std::int64_t>(tile_rows, end - row);
      conv_tile(args.x.as<T>(), channels, plan.weights, channels, conv, false, plan.zeros, row,
                count, tile, channels, Start<T>::row(args.bias.as<T>()));
      if (args.conv) std::copy_n(tile, count * channels, args.conv.as<T>() + row * channels);
      const auto finish = [&](const PatchSegment<T>& segment, std::int64_t first,
                              std::int64_t part) {
        T* const h = tile + (first - row) * channels;
        if (segment.bottleneck > 0) {
          T* const saved =
              bottleneck_row(args.bottleneck.as<T>(), segment, width, conv.steps, first);
          const T* const x = args.x.as<T>() + first * channels;
          const bool serial = args.insertion == Insertion::serial;
          if (!serial) add_row(h, x, part * channels);
          patch_tile(cursor.at(segment), serial ? h : x, channels, part, saved, hidden, h,
                     channels);
        }
        const NormWeights<T> norm(args, segment);
        for (std::int64_t i = 0; i < part; ++i) {
          normalize_row<T>(norm, args.epsilon, channels, h + i * channels,
                           {row_of<T>(args.residual, first + i, channels),
                            row_of<T>(args.y, first + i, channels),
                            row_of<T>(args.normalized, first + i, channels),
                            row_of<T>(args.inv_std, first + i, 1)});
        }
      };
      plan.segments.for_parts(row, count, conv.steps, finish);
    }
  });
}

template <class T>
struct BackwardPlan {
  ConvNormRowsBackward<T, ConvNormBackward> rows;
  WeightPanels<T> weights_t{};  ///< for dx
  T* zeros = nullptr;

  BackwardPlan(const ConvNormBackward& args, const ConvExtents& conv, Scratch& scratch)
      : rows(args, ConvNormNeeds(args), scratch) {
    if (!args.dx) return;
    weights_t = {scratch.take<T>(packed_size<T>(conv.taps * conv.out, conv.in)), true};
    zeros = scratch.take<T>(std::max(conv.out, rows.segments.bottleneck()));
  }
};

ConvExtents extents_of(const ConvNormBackward& args) {
  return conv_extents(args.dy.shape, args.w.shape, args.dilation, args.padding);
}

template <class T>
void backward(const ConvNormBackward& args, Scratch& scratch) {
  const ConvExtents conv = extents_of(args);
  const std::int64_t channels = conv.out;
  BackwardPlan<T> plan(args, conv, scratch);
  if (scratch.is_counting()) return;
  plan.rows.run(args);
  if (args.dx) {
    pack_taps(args.w.as<T>(), conv, true, plan.weights_t.storage());
    std::fill_n(plan.zeros, std::max(channels, plan.rows.segments.bottleneck()), T(0));
    const std::int64_t step = product_rows_per_task(conv.rows(), conv.multiply_adds());
    parallel_tasks((conv.rows() + step - 1) / step, [&](std::int64_t task, int worker) {
      PatchCursor<T> cursor(plan.rows.patch, worker);
      const std::int64_t end = std::min(conv.rows(), (task + 1) * step);
      for (std::int64_t row = task * step; row < end; row += tile_rows) {
        const std::int64_t count = std::min<std::int64_t>(tile_rows, end - row);
        T* const dx = args.dx.as<T>() + row * channels;
        conv_tile(plan.rows.dz, channels, plan.weights_t, channels, conv, true, plan.zeros, row,
                  count, dx, channels, Start<T>::zero());
        if (args.insertion != Insertion::parallel) continue;
        const auto pass = [&](const PatchSegment<T>& segment, std::int64_t first,
                              std::int64_t part) {
          if (segment.bottleneck == 0) return;
          plan.rows.pass_patch(
              cursor.at(segment), segment, part, plan.zeros,
              [first](std::int64_t i) { return first + i; }, dx + (first - row) * channels);
        };
        plan.rows.segments.for_parts(row, count, conv.steps, pass);
      }
    });
  }
  if (args.dw) weight_gradient(args.x.as<T>(), plan.rows.dz, conv, args.dw.as<T>());
  plan.rows.patch_gradients(
      args, args.insertion == Insertion::serial ? args.conv.as<T>() : args.x.as<T>());
}

}  // namespace

template <>
void kernel(const ConvNormForward& args, Scratch& scratch) {
  for_floating<ConvNormForward>(args.x.dtype, [&]<class T>(T) { forward<T>(args, scratch); });
}

template <>
void kernel(const ConvNormBackward& args, Scratch& scratch) {
  for_floating<ConvNormBackward>(args.dy.dtype, [&]<class T>(T) { backward<T>(args, scratch); });
}

template void entry(const ConvNormForward&, ScratchMemory&);
template void entry(const ConvNormBackward&, ScratchMemory&);

}  // namespace refrain::kernels::cpu
