// Gradients of half a residual block on the GPU.  Device: f32, f64.
//   y = relu(gamma * normalized + beta),  normalized = (h - mean(h)) * inv_std
//   h = conv(x), patch(conv(x)) (serial) or conv(x) + patch(x) (parallel)
// With open = dy where the ReLU was open, else 0:
//   dgamma = sum_rows open * normalized,  dbeta = sum_rows open,  g = gamma * open
//   dh = inv_std * (g - mean(g) - normalized * mean(g * normalized)),  dm = (dh up^T) * gelu'(bottleneck)
//   dz, the gradient of the convolution's output: dh, or dh + dm down^T (serial);  dbias = sum_rows dz
//   dx = conv^T(dz) (+ dh + dm down^T, parallel);  dw from dz as in cuda_conv_backward.cu
//   the patch's weights as in cuda_backward.cu, from dh and dm
// Shapes: x, dy, dx, normalized, h, dh, dz [B,T,C]; inv_std [B,T]; w, dw [K,C,C]; bottleneck, dm
// [B,T,D]; P = B T rows.
//
// First launch, C up to 256: a block of 128 threads takes 16 rows; a warp keeps a row in registers
// and reads dy and normalized once for dh, dgamma, dbeta and the sum of dh. With a patch, f32 with
// C and D multiples of 4 up to 64 and 16-byte addresses, dh also stays in shared memory, and the
// same launch makes dm and dz (PatchGradientTile); else patch_input_gradient does. C beyond 256:
// `open` is written, and layer_norm_backward takes it, in rows of any length.
// Then dx in one launch, a parallel patch's part included, and the sums over rows. f32 of more than
// 64 channels: dx, dw and that part by products of the library (cuda_product_conv.cu).
// What is not wanted is not computed, and nothing is read or kept for it: with frozen weights of
// the convolution x is not touched. FLOPs 2 K C^2 P for each of dx and dw, 4 C D P for dm and dz.
// Moved: up to (6 C + 2 D) P elements; dz comes once per 64 channels of dx and of dw from the
// cache. Limit: the first launch memory, the products arithmetic.

#include "kernels/causal_conv/product_conv.cuh"
#include "kernels/conv_norm/conv_norm_backward.cuh"
#include "kernels/layer_norm/cuda.hpp"
#include "kernels/pointwise/cuda.hpp"
#include "refrain/kernels/conv_norm.hpp"
#include "refrain/kernels/layer_norm.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {
namespace {

constexpr const char* name = ConvNormBackward::name;
constexpr std::int64_t most_norm_channels = 256;  // of norm_tile

/// What the gradients asked for make necessary.
struct Needs {
  bool serial, parallel;
  bool below;  ///< a gradient of the convolution's
  bool down;   ///< a gradient that is made of dm
  bool up;     ///< up's
  bool dm;
  /// where the sum of dh goes: to the bias of what was added last to make h, or of both
  MutableView h_sum;

  explicit Needs(const ConvNormBackward& args)
      : serial(args.insertion == Insertion::serial),
        parallel(args.insertion == Insertion::parallel),
        below(args.dx || args.dw || args.dbias),
        down(patched() && (args.dpatch.down || args.dpatch.down_bias)),
        up(patched() && args.dpatch.up),
        dm(down || (serial && below) || (parallel && args.dx)) {
    if (patched()) h_sum = args.dpatch.up_bias;
    if (!serial && args.dbias) h_sum = args.dbias;
  }
  bool patched() const { return serial || parallel; }
  bool anything(const ConvNormBackward& args) const {
    return below || down || up || h_sum || args.dgamma || args.dbeta;
  }
};

/// How they are made, and the scratch memory.
template <class T>
struct Plan {
  std::int64_t rows, channels;
  bool wide;                    ///< rows too long for norm_tile
  bool tile;                    ///< dm and dz are made by the first launch
  T* open = nullptr;            ///< [P,C], of wide rows
  T* dh = nullptr;              ///< [P,C], where a launch after the first reads it
  T* dz = nullptr;              ///< [P,C]; dh itself unless a serial patch lies between
  T* norm_sums = nullptr;       ///< [blocks,3,C]
  T* parts = nullptr;           ///< of the sums over rows, which follow one another
  MutableView library{};        ///< scratch memory of the library's products
  ProductConvolution products;  ///< dx and dw of many channels
  PatchInputGradient<T> patch{};
  PatchWeightGradient<T> patch_weights;

  Plan(const ConvNormBackward& args, const Needs& needs, Scratch& scratch)
      : rows(args.dy.shape[0] * args.dy.shape[1]),
        channels(args.dy.shape[2]),
        wide(channels > most_norm_channels) {
    if (needs.patched()) {
      patch = {.up = args.patch.up.as<T>(),
               .down = args.patch.down.as<T>(),
               .bottleneck = args.bottleneck.as<T>(),
               .dm = nullptr,
               .active = nullptr,
               .dx = nullptr,
               .rows = rows,
               .channels = channels,
               .width = args.patch.down.shape[1]};
    }
    tile = needs.dm && !wide && fits_patch_tile(patch);
    const bool apart = needs.dm && !tile;
    const bool of_conv = args.dx || args.dw;
    if (apart || needs.up || (!needs.serial && of_conv) || (wide && needs.h_sum))
      dh = scratch.take<T>(rows * channels);
    dz = dh;
    if (needs.serial && needs.below) dz = patch.dx = scratch.take<T>(rows * channels);
    if (needs.dm && (apart || needs.down || needs.parallel))
      patch.dm = scratch.take<T>(rows * patch.width);
    const bool by_library = of_conv && goes_to_library<T>(channels, channels);
    if (by_library || (std::is_same_v<T, float> && apart) ||
        PatchWeightGradient<T>::needs_library(args.dpatch, channels, patch.width)) {
      library = take_product_scratch(scratch);
    }
    if (by_library) {
      products = {name,
                  {args.dy.shape[0], args.dy.shape[1], channels, channels, args.w.shape[0],
                   args.dilation, args.padding},
                  args.max_gathered_bytes,
                  library,
                  scratch};
    }
    std::int64_t most_parts = 0;
    if (args.dw && !by_library) most_parts = outer_parts(rows, channels, channels, args.w.shape[0]);
    if ((args.dbias && needs.serial) || (wide && needs.h_sum)) {
      most_parts = std::max(most_parts, column_parts(rows, channels, 1));
    }
    if (wide) {
      open = scratch.take<T>(rows * channels);
    } else if (args.dgamma || args.dbeta || needs.h_sum) {
      norm_sums = scratch.take<T>(blocks() * 3 * channels);
      most_parts = std::max(most_parts, column_parts(blocks(), channels, 3));
    }
    if (most_parts > 0) parts = scratch.take<T>(most_parts);
    if (!needs.patched()) return;
    PatchGradients weights = args.dpatch;
    weights.up_bias = {};  // by h_sum
    patch_weights = PatchWeightGradient<T>(weights, rows, channels, patch.width, library, scratch);
    if (tile) patch.active = patch_weights.active();
  }

  std::int64_t blocks() const { return (rows + patch_rows - 1) / patch_rows; }

  /// The normalization's gradients from `open`.
  LayerNormBackward of_wide_rows(const ConvNormBackward& args) const {
    const Shape shape{rows, channels};
    return {.gamma = args.gamma,
            .normalized = args.normalized,
            .inv_std = args.inv_std,
            .dy = {open, shape, dtype_of<T>, Device::cuda},
            .dx = {dh, shape, dtype_of<T>, Device::cuda},
            .dgamma = args.dgamma,
            .dbeta = args.dbeta};
  }
};

/// dh, with its sums, and in the same launch what PatchGradientTile takes.
template <class T>
void launch_norm(const NormInputGradient<T>& norm, const Plan<T>& plan) {
  const auto start = [&]<int items>() {
    simt::Launch how{
        .name = name, .grid = simt::blocks_for(norm.rows, patch_rows), .block = patch_threads};
    if (!plan.tile) {
      simt::launch(how, norm_input_gradient<T, items>, norm);
    } else if constexpr (std::is_same_v<T, float> && 32 * items <= most_patch_channels) {
      for_math_mode<float>([&]<MathMode mode>() {
        how.shared_bytes = PatchGradientTile<mode>::shared_bytes(plan.patch);
        simt::launch(how, norm_patch_input_gradient<mode, items>, norm, plan.patch);
      });
    }
  };
  if (norm.channels <= 64) return start.template operator()<2>();
  if (norm.channels <= 128) return start.template operator()<4>();
  start.template operator()<8>();
}

/// dx and dw of few channels.
template <class T>
void gradients_by_tiles(const ConvNormBackward& args, const Needs& needs, const Plan<T>& plan) {
  const std::int64_t rows = plan.rows, channels = plan.channels;
  const std::int64_t steps = args.dy.shape[1], taps = args.w.shape[0];
  if (args.dx) {
    InputGradient<T> gradient{.dy = plan.dz,
                              .w = args.w.as<T>(),
                              .steps = TapSteps::backward(args.padding, taps, args.dilation, steps),
                              .taps = taps,
                              .out = channels,
                              .dx = args.dx.as<T>(),
                              .rows = rows,
                              .columns = channels};
    if (needs.parallel) {
      gradient.dm = plan.patch.dm;
      gradient.down = plan.patch.down;
      gradient.depth = plan.patch.width;
      gradient.skip = plan.dh;
    }
    input_gradient(name, gradient);
  }
  if (args.dw) {
    const WeightGradient<T> gradient{
        .x = args.x.as<T>(),
        .dy = plan.dz,
        .steps = TapSteps::forward(args.padding, taps, args.dilation, steps),
        .taps = taps,
        .rows = rows,
        .in = channels,
        .out = channels,
        .dw = args.dw.as<T>(),
        .parts = plan.parts};
    weight_gradient(name, gradient);
  }
}

/// dx and dw of many channels.
void gradients_by_products(const ConvNormBackward& args, const Needs& needs,
                           const Plan<float>& plan) {
  if (args.dx) {
    float* const dx = args.dx.as<float>();
    if (needs.parallel) {
      multiply_matrices({.a = plan.patch.dm,
                         .b = plan.patch.down,
                         .c = dx,
                         .rows = plan.rows,
                         .columns = plan.channels,
                         .depth = plan.patch.width,
                         .transpose_b = true,
                         .workspace = plan.library});
    }
    plan.products.input_gradient(plan.dz, args.w.as<float>(), needs.parallel ? plan.dh : nullptr,
                                 needs.parallel, dx);
  }
  if (args.dw) plan.products.weight_gradient(args.x.as<float>(), plan.dz, args.dw.as<float>());
}

template <class T>
void backward(const ConvNormBackward& args, Scratch& scratch) {
  const Needs needs(args);
  if (!needs.anything(args)) return;
  const Plan<T> plan(args, needs, scratch);
  if (scratch.is_counting()) {
    if (plan.wide) kernel(plan.of_wide_rows(args), scratch);
    return;
  }
  const std::int64_t rows = plan.rows, channels = plan.channels;
  if (channels == 0) return;

  const NormInputGradient<T> norm{.dy = args.dy.as<T>(),
                                  .normalized = args.normalized.as<T>(),
                                  .inv_std = args.inv_std.as<T>(),
                                  .gamma = args.gamma.as<T>(),
                                  .beta = args.beta.as<T>(),
                                  .dh = plan.dh,
                                  .sums = plan.norm_sums,
                                  .rows = rows,
                                  .channels = channels};
  if (plan.wide) {
    if (rows > 0) {
      const simt::Launch how{.name = name,
                             .grid = simt::blocks_for(rows * channels, pointwise_threads),
                             .block = pointwise_threads};
      simt::launch(how, open_gradient<T>, norm, rows * channels, plan.open);
    }
    kernel(plan.of_wide_rows(args), scratch);
    if (needs.h_sum) bias_gradient(name, plan.dh, rows, channels, needs.h_sum.as<T>(), plan.parts);
  } else {
    if (rows > 0) launch_norm(norm, plan);
    if (plan.norm_sums != nullptr) {
      const MatrixTerms<T, 3> of_blocks{
          .from = plan.norm_sums, .stride = 3 * channels, .apart = channels};
      const ColumnTargets<T, 3> to{
          .to = {args.dgamma.as<T>(), args.dbeta.as<T>(), needs.h_sum.as<T>()}, .stride = 0};
      sum_columns(name, of_blocks, plan.blocks(), channels, to, plan.parts);
    }
  }
  if (needs.parallel && args.dbias && args.dpatch.up_bias) {  // both are the sum of dh
    kernel(LinearCombination{.a = args.dbias, .out = args.dpatch.up_bias});
  }
  if (needs.dm && !plan.tile) patch_input_gradient(name, plan.dh, plan.patch, plan.library);

  if (!goes_to_library<T>(channels, channels)) {
    gradients_by_tiles(args, needs, plan);
  } else if constexpr (std::is_same_v<T, float>) {
    gradients_by_products(args, needs, plan);
  }
  if (args.dbias && needs.serial)
    bias_gradient(name, plan.dz, rows, channels, args.dbias.as<T>(), plan.parts);
  const T* const patch_input = needs.serial ? args.conv.as<T>() : args.x.as<T>();
  plan.patch_weights.run(name, patch_input, plan.patch.bottleneck, plan.tile, plan.patch.dm,
                         plan.dh);
}

}  // namespace

template <>
void kernel(const ConvNormBackward& args, Scratch& scratch) {
  for_floating<ConvNormBackward>(args.dy.dtype, [&]<class T>(T) { backward<T>(args, scratch); });
}

template void entry(const ConvNormBackward&, ScratchMemory&);

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
