// Gradients of half a residual block on the GPU.  Device: f32, f64.
//   y = relu(gamma * normalized + beta),  normalized = (h - mean(h)) * inv_std
//   h = conv(x), patch(conv(x)) (serial) or conv(x) + patch(x) (parallel)
// With open = dy where the ReLU was open, else 0:
//   dgamma = sum over rows of open * normalized,  dbeta = sum over rows of open,  g = gamma * open
//   dh = inv_std * (g - mean(g) - normalized * mean(g * normalized))
//   dm = (dh up^T) * gelu'(bottleneck)
//   dz, the gradient of the convolution's output: dh, or dh + dm down^T (serial)
//   dbias = sum over rows of dz
//   dx = conv^T(dz) (+ dh + dm down^T, parallel)
//   dw from dz as in causal_conv/cuda_conv_backward.cu
//   the weights of the patch from dh and dm as in patch/cuda_backward.cu
// Shapes: x, dy, dx, normalized, h, dh, dz [B,T,C]; inv_std [B,T]; w, dw [K,C,C]; bottleneck, dm
// [B,T,D]; P = B T rows.
//
// There are separate paths for dh from dy (NormPath) and for dx and dw from dz (ConvPath). If the
// first launch does not compute the gradient of the patch, patch_input_gradient follows; the sums
// over rows and the weights of the patch come last. Gradients that are not requested are not
// computed, and nothing is read or stored for them: with frozen weights of the convolution x is not
// read.
//
// FLOPs: 2 K C^2 P for each of dx and dw, 4 C D P for dm and dz. Memory traffic: up to (6 C + 2 D)
// P elements; dz is read once per 64 channels of dx and of dw, from the cache. The first launch is
// bound by memory bandwidth, the products by arithmetic.

#include "kernels/causal_conv/product_conv.cuh"
#include "kernels/conv_norm/conv_norm_backward.cuh"
#include "kernels/layer_norm/cuda.hpp"
#include "kernels/patch/cuda.hpp"
#include "kernels/patch/patch_weight_gradient.cuh"
#include "kernels/pointwise/cuda.hpp"
#include "refrain/kernels/conv_norm.hpp"
#include "refrain/kernels/layer_norm.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {
namespace {

constexpr const char* kernel_name = ConvNormBackward::name;
constexpr std::int64_t max_norm_channels = 256;  // limit of norm_tile

/// The tensors that the requested gradients require.
struct Needs {
  bool serial, parallel;
  bool below;  ///< a gradient below h: of x, of the convolution's weights or of its bias
  bool down;   ///< a gradient computed from dm
  bool up;     ///< the gradient of up
  bool dm;
  /// destination of the sum of dh: the gradient of the bias of the last term of h, or the gradients
  /// of both biases
  MutableView h_sum;
  bool bank;       ///< dh is also summed for each patch
  bool norm_bank;  ///< dgamma and dbeta are those of a bank

  explicit Needs(const ConvNormBackward& args)
      : serial(args.insertion == Insertion::serial),
        parallel(args.insertion == Insertion::parallel),
        below(args.dx || args.dw || args.dbias),
        down(patched() && (args.dpatch.down || args.dpatch.down_bias)),
        up(patched() && args.dpatch.up),
        dm(down || (serial && below) || (parallel && args.dx)),
        bank(patched() && args.patch.bank_rows),
        norm_bank(bank && args.gamma.shape.rank() == 2) {
    if (patched() && !bank) h_sum = args.dpatch.up_bias;
    if (!serial && args.dbias) h_sum = args.dbias;
  }
  bool patched() const { return serial || parallel; }
  bool anything(const ConvNormBackward& args) const {
    return below || down || up || h_sum || args.dgamma || args.dbeta ||
           (bank && args.dpatch.up_bias);
  }
};

/// The computation of dh from dy.
enum class NormPath : std::uint8_t {
  with_patch,     ///< one launch for dh, dm and dz, with rows in registers and the patch included
  register_rows,  ///< one launch for dh, with rows in registers
  any_width,      ///< one launch for `open`, the input of layer_norm_backward
};

/// The computation of dx and dw from dz.
enum class ConvPath : std::uint8_t {
  tiles,     ///< one launch for dx, including a parallel patch, and one or two for dw
  products,  ///< cuBLASLt products (ProductConvolution)
};

struct Paths {
  NormPath norm;
  ConvPath conv;
};

/// The inputs of the patch's backward pass, with null outputs.
template <class T>
PatchInputGradient<T> patch_of(const ConvNormBackward& args) {
  return PatchInputGradient<T>::of(args.patch, args.bottleneck, args.dy.shape.rows());
}

/// Norm: a warp keeps a row of up to 256 channels in registers and reads dy and normalized once for
/// dh, dgamma, dbeta and the sum of dh; longer rows do not fit. With a small patch (f32, C and D
/// multiples of 4 up to 64, 16-byte addresses) dh also stays in shared memory for both products of
/// the patch; with a larger one cuBLASLt products are faster.
/// Convolution: f32 products of more than 64 channels are faster in cuBLASLt than in our tiles.
template <class T>
Paths paths_of(const ConvNormBackward& args, const Needs& needs) {
  const std::int64_t channels = args.dy.shape[2];
  const ConvPath conv =
      goes_to_library<T>(channels, channels) ? ConvPath::products : ConvPath::tiles;
  if (channels > max_norm_channels) return {NormPath::any_width, conv};
  const bool with_patch = needs.dm && fits_patch_tile(patch_of<T>(args));
  return {with_patch ? NormPath::with_patch : NormPath::register_rows, conv};
}

/// The tensors between the launches, and the gradients of the patch; null when no launch reads
/// them.
template <class T>
struct Half {
  const ConvNormBackward& args;
  Needs needs;
  Paths paths;
  std::int64_t rows, channels;
  T* dh = nullptr;        ///< [P,C], if a later launch reads it
  T* dz = nullptr;        ///< [P,C]; dh itself without a serial patch
  MutableView library{};  ///< scratch memory of the cuBLASLt products
  PatchInputGradient<T> patch{};
  PatchWeightGradient<T> patch_weights{};

  Half(const ConvNormBackward& given, const Needs& needed, Scratch& scratch)
      : args(given),
        needs(needed),
        paths(paths_of<T>(given, needed)),
        rows(given.dy.shape[0] * given.dy.shape[1]),
        channels(given.dy.shape[2]) {
    const bool patch_follows = needs.dm && paths.norm != NormPath::with_patch;
    const bool of_conv = args.dx || args.dw;
    if (patch_follows || needs.up || (!needs.serial && of_conv) ||
        (paths.norm == NormPath::any_width && needs.h_sum))
      dh = scratch.take<T>(rows * channels);
    const bool patch_between = needs.serial && needs.below;
    dz = patch_between ? scratch.take<T>(rows * channels) : dh;
    if (needs.patched()) patch = patch_of<T>(args);
    if (patch_between) patch.dx = dz;
    if (needs.dm && (patch_follows || needs.down || needs.parallel))
      patch.dm = scratch.take<T>(rows * patch.width);
    if ((of_conv && paths.conv == ConvPath::products) || (patch_follows && needs_library(patch)) ||
        (needs.patched() && PatchWeightGradient<T>::needs_library(args.dpatch, args.patch)))
      library = take_product_scratch(scratch);
    if (!needs.patched()) return;
    PatchGradients weights = args.dpatch;
    weights.up_bias = {};  // h_sum computes it
    patch_weights = PatchWeightGradient<T>(weights, args.patch, rows, library, scratch);
    if (paths.norm == NormPath::with_patch) patch.active = patch_weights.active();
  }

  NormInputGradient<T> norm() const {
    return {.dy = args.dy.as<T>(),
            .normalized = args.normalized.as<T>(),
            .inv_std = args.inv_std.as<T>(),
            .gamma = args.gamma.as<T>(),
            .beta = args.beta.as<T>(),
            .dh = dh,
            .sums = nullptr,
            .rows = rows,
            .channels = channels,
            .bank = BankRows::of(args.patch.bank_rows, rows),
            .has_norm_bank = needs.norm_bank};
  }

  /// out = the sum over rows of x [P,C].
  void sum_rows_of(const T* x, const MutableView& out, Scratch& scratch) const {
    T* const parts = scratch.take<T>(column_parts(rows, channels, 1));
    if (!scratch.is_counting()) bias_gradient(kernel_name, x, rows, channels, out.as<T>(), parts);
  }
};

// ---- dh, dgamma, dbeta and the sum of dh ----

/// NormPath::register_rows and with_patch. A block of 128 threads takes 16 rows; sum_columns adds
/// the sums of the blocks.
template <class T>
void norm_in_registers(const Half<T>& half, Scratch& scratch) {
  const ConvNormBackward& args = half.args;
  const Needs& needs = half.needs;
  const std::int64_t channels = half.channels;
  NormInputGradient<T> norm = half.norm();
  const std::int64_t blocks = norm.bank.tiles(patch_rows);
  T* parts = nullptr;
  const MutableView patch_sum = needs.bank ? args.dpatch.up_bias : MutableView();
  const bool computes_sums = args.dgamma || args.dbeta || needs.h_sum || patch_sum;
  if (computes_sums) {
    norm.sums = scratch.take<T>(blocks * 3 * channels);
    parts = scratch.take<T>(column_parts(blocks, channels, 3));
  }
  if (scratch.is_counting()) return;
  const auto start = [&]<int items>() {
    simt::Launch how{
        .name = kernel_name, .grid = simt::blocks_for(blocks, 1), .block = patch_threads};
    if (half.paths.norm == NormPath::register_rows) {
      simt::launch(how, norm_input_gradient<T, items>, norm);
    } else if constexpr (std::is_same_v<T, float> && 32 * items <= max_patch_channels) {
      for_math_mode<float>([&]<MathMode mode>() {
        how.shared_bytes = PatchGradientTile<mode>::shared_bytes(half.patch);
        simt::launch(how, norm_patch_input_gradient<mode, items>, norm, half.patch);
      });
    }
  };
  if (half.rows > 0) {
    channels <= 64    ? start.template operator()<2>()
    : channels <= 128 ? start.template operator()<4>()
                      : start.template operator()<8>();
  }
  if (!computes_sums) return;
  const MatrixTerms<T, 3> of_blocks{.from = norm.sums, .stride = 3 * channels, .apart = channels};
  T* const dgamma = args.dgamma.as<T>();
  T* const dbeta = args.dbeta.as<T>();
  if (needs.h_sum || (!needs.norm_bank && (args.dgamma || args.dbeta))) {
    const ColumnTargets<T, 3> to{.to = {needs.norm_bank ? nullptr : dgamma,
                                        needs.norm_bank ? nullptr : dbeta, needs.h_sum.as<T>()},
                                 .stride = 0};
    sum_columns(kernel_name, of_blocks, blocks, channels, to, parts);
  }
  if (patch_sum || (needs.norm_bank && (args.dgamma || args.dbeta))) {
    const ColumnTargets<T, 3> to{.to = {needs.norm_bank ? dgamma : nullptr,
                                        needs.norm_bank ? dbeta : nullptr, patch_sum.as<T>()},
                                 .stride = channels};
    BankRows of_blocks_of_bank = norm.bank;
    of_blocks_of_bank.steps = norm.bank.tiles_per_sequence(patch_rows);
    const MutableView& any = patch_sum ? patch_sum : args.dgamma ? args.dgamma : args.dbeta;
    sum_columns_of_bank(kernel_name, of_blocks, of_blocks_of_bank, any.shape[0], channels, to);
  }
}

/// NormPath::any_width.
template <class T>
void norm_of_any_width(const Half<T>& half, Scratch& scratch) {
  const ConvNormBackward& args = half.args;
  const std::int64_t elements = half.rows * half.channels;
  T* const open = scratch.take<T>(elements);
  if (!scratch.is_counting() && elements > 0) {
    const simt::Launch how{.name = kernel_name,
                           .grid = simt::blocks_for(elements, pointwise_threads),
                           .block = pointwise_threads};
    simt::launch(how, open_gradient<T>, half.norm(), elements, open);
  }
  const Shape shape{half.rows, half.channels};
  kernel(LayerNormBackward{.gamma = args.gamma,
                           .normalized = args.normalized,
                           .inv_std = args.inv_std,
                           .dy = {open, shape, dtype_of<T>, Device::cuda},
                           .dx = {half.dh, shape, dtype_of<T>, Device::cuda},
                           .dgamma = args.dgamma,
                           .dbeta = args.dbeta},
         scratch);
  if (half.needs.h_sum) half.sum_rows_of(half.dh, half.needs.h_sum, scratch);
}

// ---- dx and dw ----

/// ConvPath::tiles.
template <class T>
void convolution_by_tiles(const Half<T>& half, Scratch& scratch) {
  const ConvNormBackward& args = half.args;
  const std::int64_t rows = half.rows, channels = half.channels;
  const std::int64_t steps = args.dy.shape[1], taps = args.w.shape[0];
  T* const parts = args.dw ? scratch.take<T>(outer_parts(rows, channels, channels, taps)) : nullptr;
  if (scratch.is_counting()) return;
  if (args.dx) {
    InputGradient<T> gradient{.dy = half.dz,
                              .w = args.w.as<T>(),
                              .steps = TapSteps::backward(args.padding, taps, args.dilation, steps),
                              .taps = taps,
                              .out = channels,
                              .dx = args.dx.as<T>(),
                              .rows = rows,
                              .columns = channels};
    if (half.needs.parallel) {
      gradient.dm = half.patch.dm;
      gradient.down = half.patch.down;
      gradient.depth = half.patch.width;
      gradient.bank.of = half.patch.bank;
      gradient.bank.depths = half.patch.widths;
      gradient.bank.omits_skip = true;
      gradient.skip = half.dh;
    }
    input_gradient(kernel_name, gradient);
  }
  if (args.dw) {
    const WeightGradient<T> gradient{
        .x = args.x.as<T>(),
        .dy = half.dz,
        .steps = TapSteps::forward(args.padding, taps, args.dilation, steps),
        .taps = taps,
        .rows = rows,
        .in = channels,
        .out = channels,
        .dw = args.dw.as<T>(),
        .parts = parts};
    weight_gradient(kernel_name, gradient);
  }
}

/// ConvPath::products.
void convolution_by_products(const Half<float>& half, Scratch& scratch) {
  const ConvNormBackward& args = half.args;
  if (!args.dx && !args.dw) return;
  const Shape& dy = args.dy.shape;
  const ProductConvolution products(
      kernel_name,
      {dy[0], dy[1], half.channels, half.channels, args.w.shape[0], args.dilation, args.padding},
      args.max_gathered_bytes, half.library, scratch);
  if (scratch.is_counting()) return;
  if (args.dx) {
    float* const dx = args.dx.as<float>();
    const bool parallel = half.needs.parallel;
    if (parallel && half.needs.bank) {
      InputGradient<float> through_patch{.dm = half.patch.dm,
                                         .down = half.patch.down,
                                         .depth = half.patch.width,
                                         .skip = half.dh,
                                         .dx = dx,
                                         .rows = half.rows,
                                         .columns = half.channels};
      through_patch.bank.of = half.patch.bank;
      through_patch.bank.depths = half.patch.widths;
      through_patch.bank.omits_skip = true;
      input_gradient(kernel_name, through_patch);
    } else if (parallel) {
      multiply_matrices({.a = half.patch.dm,
                         .b = half.patch.down,
                         .c = dx,
                         .rows = half.rows,
                         .columns = half.channels,
                         .depth = half.patch.width,
                         .transpose_b = true,
                         .workspace = half.library});
    }
    const bool adds_dh = parallel && !half.needs.bank;
    products.input_gradient(half.dz, args.w.as<float>(), adds_dh ? half.dh : nullptr, parallel, dx);
  }
  if (args.dw) products.weight_gradient(args.x.as<float>(), half.dz, args.dw.as<float>());
}

// ---- all gradients ----

template <class T>
void backward(const ConvNormBackward& args, Scratch& scratch) {
  const Needs needs(args);
  if (!needs.anything(args) || args.dy.shape[2] == 0) return;
  const Half<T> half(args, needs, scratch);
  if (half.paths.norm == NormPath::any_width) expect_no_bank(args.patch);
  const bool launches = !scratch.is_counting();
  switch (half.paths.norm) {
    case NormPath::with_patch:
    case NormPath::register_rows:
      norm_in_registers(half, scratch);
      break;
    case NormPath::any_width:
      norm_of_any_width(half, scratch);
      break;
  }
  if (launches && needs.parallel && !needs.bank && args.dbias && args.dpatch.up_bias)  // sums of dh
    kernel(LinearCombination{.a = args.dbias, .out = args.dpatch.up_bias});
  if (launches && needs.dm && half.paths.norm != NormPath::with_patch)
    patch_input_gradient(kernel_name, half.dh, half.patch, half.library);
  switch (half.paths.conv) {
    case ConvPath::tiles:
      convolution_by_tiles(half, scratch);
      break;
    case ConvPath::products:
      if constexpr (std::is_same_v<T, float>) convolution_by_products(half, scratch);
      break;
  }
  if (args.dbias && needs.serial) half.sum_rows_of(half.dz, args.dbias, scratch);
  if (!launches) return;
  const T* const patch_input = needs.serial ? args.conv.as<T>() : args.x.as<T>();
  half.patch_weights.run(kernel_name, patch_input, half.patch.bottleneck,
                         half.paths.norm == NormPath::with_patch, half.patch.dm, half.dh);
}

}  // namespace

template <>
void kernel(const ConvNormBackward& args, Scratch& scratch) {
  for_floating<ConvNormBackward>(args.dy.dtype, [&]<class T>(T) { backward<T>(args, scratch); });
}

template void entry(const ConvNormBackward&, ScratchMemory&);

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
