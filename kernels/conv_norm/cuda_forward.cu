// Half of a residual block on the GPU. Device: f32, f64.
//   h = conv(x), patch(conv(x)) or conv(x) + patch(x)
//   patch(x) = x + gelu(x down + down_bias) up + up_bias
//   y = relu(gamma normalized + beta) (+ residual),  normalized = (h - mean(h)) inv_std
//   inv_std = 1 / sqrt(var(h) + epsilon)
// Shapes: x, y, residual, normalized, conv [B,T,C]; w [K,C,C]; bias, gamma, beta [C]; down [C,D],
// up [D,C]; inv_std [B,T]; bottleneck [B,T,D]; P = B T rows.
//
// There are three paths (Path). FLOPs: 2 K C^2 P, plus 4 C D P with a patch.
//
// Fused tile, C up to 64: one launch. A block of 4 warps computes 64 rows with all their channels,
// in a tile of 64 columns of shared memory:
//   convolution   the implicit product of conv_tile.cuh, f32 by math_mode(); the sums overwrite the
//                 panels of the factors
//   patch         two products (patch_tile.cuh): a factor of the first is the tile itself (serial)
//                 or x (parallel), and its results stay in shared memory; the sums of the second
//                 are added to the tile
//   norm          a warp per row, in registers: mean, variance of the centred row, normalization,
//                 ReLU, residual
// Between x and y only the tensors saved for the backward pass are written to memory. Memory
// traffic: x K times (K + 1 with a parallel patch), mostly from the second-level cache; w, down and
// up once per 64 rows; each output and the residual once. Bound by arithmetic from about 64
// channels on, otherwise by memory bandwidth. 16-byte copies where C, D and the addresses allow.
//
// Products, f32 with more channels: cuBLASLt products compute the convolution
// (causal_conv/cuda_product_conv.cu) and the patch, and write z, or z and patch, to y; then one
// launch completes h and computes the rest (half_norm.cuh). A warp takes a row of up to 1,024
// channels in registers, or 256 where C or an address allows only single elements; a block takes a
// longer row. Memory traffic: x and each output once, columns and y twice.
//
// Separate kernels: one after the other, with y as memory for h.
//
// With a bank of patches a tile has rows of one sequence and reads the weights of its patch and
// norm (tiling/bank_rows.cuh). Products: the patch of a bank is the launch of
// patch/cuda_forward.cu, which allows up to 256 channels. Separate kernels have no banks.

#include "kernels/causal_conv/cuda.hpp"
#include "kernels/causal_conv/product_conv.cuh"
#include "kernels/conv_norm/conv_norm_forward.cuh"
#include "kernels/conv_norm/half_norm.cuh"
#include "kernels/kernel.hpp"
#include "kernels/layer_norm/cuda.hpp"
#include "kernels/patch/cuda.hpp"
#include "kernels/pointwise/cuda.hpp"
#include "refrain/kernels/causal_conv.hpp"
#include "refrain/kernels/conv_norm.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {
namespace {

/// How half a block is computed.
enum class Path : std::uint8_t {
  fused_tile,  ///< one launch, 64 rows of a block in shared memory
  products,    ///< convolution and patch by cuBLASLt products, the rest by one launch
  separate,    ///< convolution, patch, layer_norm_forward and pointwise kernels
};

CausalConvForward convolution_only(const ConvNormForward& args, const MutableView& y) {
  return {.x = args.x,
          .w = args.w,
          .bias = args.bias,
          .y = y,
          .dilation = args.dilation,
          .padding = args.padding};
}

// ---- Path::fused_tile ----

/// Calls visit.template operator()<mode, columns, aligned>(shared bytes) with the tile that holds
/// half a block; returns false without a call when no tile does.
template <class T, class Visit>
bool for_fused_tile(const ConvNormForward& args, Visit&& visit) {
  const Patch<T> patch(args.patch, args.bottleneck, args.x.shape.rows());
  const bool all_aligned =
      patch.aligned() && simt::aligned_16(args.x.as<T>(), args.w.as<T>(), args.gamma.as<T>(),
                                          args.beta.as<T>(), args.residual.as<T>(), args.y.as<T>(),
                                          args.normalized.as<T>(), args.conv.as<T>());
  bool fits = false;
  for_tile_columns<T>(args.w.shape[2], all_aligned, [&]<int columns, bool aligned>() {
    if constexpr (columns <= max_tile_channels) {  // wider rows take other paths
      for_math_mode<T>([&]<MathMode mode>() {
        std::size_t bytes = simt::piece_bytes<T>(ConvTile<T, mode, columns, aligned>::elements);
        if (args.insertion != Insertion::none)
          bytes += PatchTile<T, mode, columns, aligned>::shared_bytes(patch.bottleneck);
        fits =
            bytes + ConvTile<T, mode, columns, aligned>::fixed_bytes <= simt::shared_limit_bytes();
        if (fits) visit.template operator()<mode, columns, aligned>(bytes);
      });
    }
  });
  return fits;
}

template <class T>
void launch_fused_tile(const ConvNormForward& args) {
  const Convolution<T> conv = convolution_of<T>(convolution_only(args, args.y));
  const ConvNormTensors<T> tensors{.gamma = args.gamma.as<T>(),
                                   .beta = args.beta.as<T>(),
                                   .residual = args.residual.as<T>(),
                                   .y = args.y.as<T>(),
                                   .normalized = args.normalized.as<T>(),
                                   .inv_std = args.inv_std.as<T>(),
                                   .conv = args.conv.as<T>(),
                                   .epsilon = static_cast<T>(args.epsilon),
                                   .has_norm_bank = args.gamma.shape.rank() == 2};
  const Patch<T> patch(args.patch, args.bottleneck, conv.rows);
  for_fused_tile<T>(args, [&]<MathMode mode, int columns, bool aligned>(std::size_t shared_bytes) {
    const simt::Launch how{.name = ConvNormForward::name,
                           .grid = simt::blocks_for(patch.bank.tiles(conv_tile_rows), 1),
                           .block = ConvTile<T, mode, columns, aligned>::threads,
                           .shared_bytes = shared_bytes};
    simt::launch(how, conv_norm_tile<T, mode, columns, aligned>, conv, args.insertion, patch,
                 tensors);
  });
}

// ---- Path::products ----

class HalfByProducts {
 public:
  HalfByProducts(const ConvNormForward& args, Scratch& scratch)
      : args_(args),
        rows_(args.x.shape.rows()),
        channels_(args.w.shape[2]),
        library_(take_product_scratch(scratch)) {
    const Shape& x = args.x.shape;
    conv_ = {ConvNormForward::name,
             {x[0], x[1], channels_, channels_, args.w.shape[0], args.dilation, args.padding},
             args.max_gathered_bytes,
             library_,
             scratch};
    if (args.insertion == Insertion::none) return;
    if (args.patch.bank_rows) {
      expect_bank_fits(patch_of_bank());
    } else {
      active_ = scratch.take<float>(rows_ * args.patch.down.shape[1]);
    }
  }

  void run() const {
    const float* const x = args_.x.as<float>();
    float* const y = args_.y.as<float>();
    float* const z = args_.conv ? args_.conv.as<float>() : y;
    HalfNormTensors tensors{.z = z,
                            .patched = nullptr,
                            .up_bias = nullptr,
                            .x = nullptr,
                            .gamma = args_.gamma.as<float>(),
                            .beta = args_.beta.as<float>(),
                            .residual = args_.residual.as<float>(),
                            .y = y,
                            .normalized = args_.normalized.as<float>(),
                            .inv_std = args_.inv_std.as<float>(),
                            .epsilon = static_cast<float>(args_.epsilon),
                            .bank = BankRows::of(args_.patch.bank_rows, rows_),
                            .has_norm_bank = args_.gamma.shape.rank() == 2};
    conv_.forward(x, args_.w.as<float>(), args_.bias.as<float>(), z);
    if (args_.insertion != Insertion::none) {
      const bool beside = args_.insertion == Insertion::parallel;
      if (args_.patch.bank_rows) {
        add_bank(patch_of_bank(), {z, args_.y.shape, DType::f32, Device::cuda});
        tensors.z = y;
      } else {
        multiply_patch(beside ? x : z, y, z == y);
        if (z != y) tensors.patched = y;
        tensors.up_bias = args_.patch.up_bias.as<float>();
      }
      if (beside) tensors.x = x;
    }
    normalize(tensors);
  }

 private:
  PatchForward patch_of_bank() const {
    return {.x = args_.insertion == Insertion::parallel ? args_.x : View(),
            .patch = args_.patch,
            .y = args_.y,
            .bottleneck = args_.bottleneck};
  }

  /// y (+)= gelu(input down + down_bias) up
  void multiply_patch(const float* input, float* y, bool add) const {
    const std::int64_t width = args_.patch.down.shape[1];
    float* const hidden = args_.bottleneck ? args_.bottleneck.as<float>() : active_;
    multiply_matrices({.a = input,
                       .b = args_.patch.down.data,
                       .bias = args_.patch.down_bias.data,
                       .c = hidden,
                       .rows = rows_,
                       .columns = width,
                       .depth = channels_,
                       .workspace = library_});
    const Shape shape{rows_, width};
    kernel(UnaryForward{.x = {hidden, shape, DType::f32, Device::cuda},
                        .y = {active_, shape, DType::f32, Device::cuda},
                        .function = UnaryFunction::gelu});
    multiply_matrices({.a = active_,
                       .b = args_.patch.up.data,
                       .added = add ? y : nullptr,
                       .c = y,
                       .rows = rows_,
                       .columns = channels_,
                       .depth = width,
                       .workspace = library_});
  }

  void normalize(const HalfNormTensors& tensors) const {
    const bool aligned =
        simt::aligned_16(tensors.z, tensors.patched, tensors.up_bias, tensors.x, tensors.gamma,
                         tensors.beta, tensors.residual, tensors.y, tensors.normalized);
    simt::Launch how{.name = ConvNormForward::name,
                     .grid = simt::blocks_for(rows_, norm_warps),
                     .block = norm_warps * 32};
    const bool in_registers =
        for_register_row<float, 8>(channels_, aligned, [&]<int n, int items>() {
          if (tensors.bank.rows == nullptr) {
            simt::launch(how, half_norm_rows<n, items, false>, tensors, rows_, channels_);
          } else {
            simt::launch(how, half_norm_rows<n, items, true>, tensors, rows_, channels_);
          }
        });
    if (in_registers) return;
    how.grid = simt::blocks_for(rows_, 1);
    how.block = wide_norm_warps * 32;
    simt::launch(how, half_norm_wide<wide_norm_warps>, tensors, channels_);
  }

  const ConvNormForward& args_;
  std::int64_t rows_;
  std::int64_t channels_;
  MutableView library_;
  ProductConvolution conv_;
  float* active_ = nullptr;  ///< [P,D] after the GELU
};

// ---- Path::separate ----

void run_separately(const ConvNormForward& args, Scratch& scratch) {
  const MutableView z = args.conv ? args.conv : args.y;
  PatchForward patch{.x = z, .patch = args.patch, .y = args.y, .bottleneck = args.bottleneck};
  if (scratch.is_counting()) {
    if (args.insertion != Insertion::none) add_patch(patch, z, scratch);
    return;
  }
  convolve(convolution_only(args, z), {});
  View h = z;
  if (args.insertion != Insertion::none) {
    if (args.insertion == Insertion::parallel) {
      kernel(LinearCombination{.a = z, .b = args.x, .out = args.y});
      h = args.y;
      patch.x = args.x;
    }
    add_patch(patch, h, scratch);
    h = args.y;
  }
  kernel(LayerNormForward{.x = h,
                          .gamma = args.gamma,
                          .beta = args.beta,
                          .y = args.y,
                          .normalized = args.normalized,
                          .inv_std = args.inv_std,
                          .epsilon = args.epsilon});
  kernel(UnaryForward{.x = args.y, .y = args.y, .function = UnaryFunction::relu});
  if (args.residual) kernel(LinearCombination{.a = args.y, .b = args.residual, .out = args.y});
}

// ---- the choice ----

/// f32 products of more than 64 channels are faster in cuBLASLt than in a tile. Up to 64 a fused
/// tile moves the fewest bytes, provided that tile and bottleneck fit into shared memory. Wider
/// bottlenecks, and f64 of more channels, which only serves comparisons, take existing kernels.
template <class T>
Path path_of(const ConvNormForward& args) {
  if (goes_to_library<T>(args.w.shape[1], args.w.shape[2])) return Path::products;
  const auto nothing = [&]<MathMode mode, int columns, bool aligned>(std::size_t) {};
  return for_fused_tile<T>(args, nothing) ? Path::fused_tile : Path::separate;
}

template <class T>
void forward(const ConvNormForward& args, Scratch& scratch) {
  if (args.x.shape[0] * args.x.shape[1] == 0 || args.w.shape[2] == 0) return;
  const Path path = path_of<T>(args);
  if (path == Path::separate) expect_no_bank(args.patch);
  switch (path) {
    case Path::fused_tile:
      if (!scratch.is_counting()) launch_fused_tile<T>(args);
      return;
    case Path::products: {
      const HalfByProducts half(args, scratch);
      if (!scratch.is_counting()) half.run();
      return;
    }
    case Path::separate:
      return run_separately(args, scratch);
  }
}

}  // namespace

template <>
void kernel(const ConvNormForward& args, Scratch& scratch) {
  for_floating<ConvNormForward>(args.x.dtype, [&]<class T>(T) { forward<T>(args, scratch); });
}

template void entry(const ConvNormForward&, ScratchMemory&);

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
