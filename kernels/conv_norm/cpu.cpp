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
  PatchPanels<T> patch;

  ForwardPlan(const ConvNormForward& args, const ConvExtents& conv, Scratch& scratch)
      : weights(WeightPanels<T>::plan(args.w.as<T>(), conv.taps * conv.in, conv.out, conv.rows(),
                                      scratch)),
        zeros(scratch.take<T>(conv.in)),
        tile(scratch.take<T>(threads() * tile_rows * conv.out)) {
    if (args.insertion == Insertion::none) return;
    patch = PatchPanels<T>(args.patch, false, conv.rows(), scratch);
    hidden = scratch.take<T>(threads() * tile_rows * patch.bottleneck);
  }
};

ConvExtents extents_of(const ConvNormForward& args) {
  return conv_extents(args.x.shape, args.w.shape, args.dilation, args.padding);
}

template <class T>
void forward(const ConvNormForward& args, Scratch& scratch) {
  const ConvExtents conv = extents_of(args);
  const std::int64_t channels = conv.out;
  const ForwardPlan<T> plan(args, conv, scratch);
  if (scratch.is_counting()) return;
  if (plan.weights.packed) pack_taps(args.w.as<T>(), conv, false, plan.weights.storage());
  std::fill_n(plan.zeros, channels, T(0));
  if (args.insertion != Insertion::none) plan.patch.fill(args.patch);
  const std::int64_t width = plan.patch.bottleneck;
  const std::int64_t step =
      product_rows_per_task(conv.rows(), conv.multiply_adds() + plan.patch.multiply_adds());
  parallel_tasks((conv.rows() + step - 1) / step, [&](std::int64_t task, int worker) {
    T* const h = plan.tile + worker * tile_rows * channels;
    const std::int64_t end = std::min(conv.rows(), (task + 1) * step);
    for (std::int64_t row = task * step; row < end; row += tile_rows) {
      const std::int64_t count = std::min<std::int64_t>(tile_rows, end - row);
      conv_tile(args.x.as<T>(), channels, plan.weights, channels, conv, false, plan.zeros, row,
                count, h, channels, Start<T>::row(args.bias.as<T>()));
      if (args.conv) std::copy_n(h, count * channels, args.conv.as<T>() + row * channels);
      if (args.insertion != Insertion::none) {
        T* const hidden = plan.hidden + worker * tile_rows * width;
        T* const saved = args.bottleneck ? args.bottleneck.as<T>() + row * width : nullptr;
        const T* const x = args.x.as<T>() + row * channels;
        if (args.insertion == Insertion::serial) {
          patch_tile(plan.patch, h, channels, count, saved, hidden, h, channels);
        } else {
          add_row(h, x, count * channels);
          patch_tile(plan.patch, x, channels, count, saved, hidden, h, channels);
        }
      }
      for (std::int64_t i = 0; i < count; ++i) {
        normalize_row<T>(
            args, channels, h + i * channels,
            {row_of<T>(args.residual, row + i, channels), row_of<T>(args.y, row + i, channels),
             row_of<T>(args.normalized, row + i, channels), row_of<T>(args.inv_std, row + i, 1)});
      }
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
    zeros = scratch.take<T>(std::max(conv.out, rows.patch.bottleneck));
  }
};

ConvExtents extents_of(const ConvNormBackward& args) {
  return conv_extents(args.dy.shape, args.w.shape, args.dilation, args.padding);
}

template <class T>
void backward(const ConvNormBackward& args, Scratch& scratch) {
  const ConvExtents conv = extents_of(args);
  const std::int64_t channels = conv.out;
  const BackwardPlan<T> plan(args, conv, scratch);
  if (scratch.is_counting()) return;
  plan.rows.run(args);
  if (args.dx) {
    pack_taps(args.w.as<T>(), conv, true, plan.weights_t.storage());
    std::fill_n(plan.zeros, std::max(channels, plan.rows.patch.bottleneck), T(0));
    parallel_for(conv.rows(), product_rows_per_task(conv.rows(), conv.multiply_adds()),
                 [&](std::int64_t begin, std::int64_t end) {
                   for (std::int64_t row = begin; row < end; row += tile_rows) {
                     const std::int64_t count = std::min<std::int64_t>(tile_rows, end - row);
                     T* const dx = args.dx.as<T>() + row * channels;
                     conv_tile(plan.rows.dz, channels, plan.weights_t, channels, conv, true,
                               plan.zeros, row, count, dx, channels, Start<T>::zero());
                     if (args.insertion != Insertion::parallel) continue;
                     plan.rows.pass_patch(
                         count, plan.zeros, [row](std::int64_t i) { return row + i; }, dx);
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
