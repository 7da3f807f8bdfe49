#pragma once
/// The gradient of the input of a patch, for the patch and for half a residual block; formulas,
/// grids and bytes: cuda_backward.cu.

#include <cstdint>
#include <type_traits>

#include "kernels/causal_conv/conv_backward.cuh"
#include "kernels/kernel.hpp"
#include "kernels/matmul/product_scratch.hpp"
#include "kernels/pointwise/cuda.hpp"
#include "refrain/kernels/patch.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

/// The gradients of the bottleneck and the input of a patch, given dh, the gradient of its output:
///   dm = (dh up^T) * gelu'(bottleneck),   dx = dh + dm down^T
/// For a bank the weights are [K,...], and the columns of dm past the width of a patch are zeros. A
/// sequence without a patch has dx = dh, and no kernel reads its rows of dm and active.
template <class T>
struct PatchInputGradient {
  const T* up;          ///< [width,channels]
  const T* down;        ///< [channels,width]
  const T* bottleneck;  ///< [rows,widest] before the GELU
  T* dm;                ///< [rows,widest], or null
  T* active;  ///< [rows,widest] gelu(bottleneck), or null; written only by PatchGradientTile
  T* dx;      ///< [rows,channels], or null
  std::int64_t rows;
  std::int64_t channels;
  std::int64_t width;
  std::int64_t widest;         ///< width of the widest patch of a bank
  BankRows bank;               ///< of all rows
  const std::int32_t* widths;  ///< [K] of each patch of a bank, or null

  /// With null outputs.
  static PatchInputGradient of(const PatchViews& patch, const View& bottleneck, std::int64_t rows) {
    return {.up = patch.up.as<T>(),
            .down = patch.down.as<T>(),
            .bottleneck = bottleneck.as<T>(),
            .dm = nullptr,
            .active = nullptr,
            .dx = nullptr,
            .rows = rows,
            .channels = patch.down.shape[-2],
            .width = patch.down.shape[-1],
            .widest = patch.down.shape[-1],
            .bank = BankRows::of(patch.bank_rows, rows),
            .widths = patch.widths.as<std::int32_t>()};
  }

  /// Selects the patch of a sequence that has one.
  __device__ __forceinline__ void select(std::int64_t sequence) {
    if (bank.rows == nullptr) return;
    const std::int64_t row = bank.rows[sequence];
    up += row * widest * channels;
    down += row * channels * widest;
    if (widths != nullptr) width = widths[row];
  }
};

/// Rows of a block, four per warp: more warps keep more loads in flight.
inline constexpr int patch_rows = 16;
inline constexpr int patch_threads = 128;
/// Limits of PatchGradientTile; beyond them cuBLASLt products are faster.
inline constexpr std::int64_t max_patch_channels = 64;
inline constexpr std::int64_t max_patch_width = 64;

/// True when PatchGradientTile supports this patch.
template <class T>
bool fits_patch_tile(const PatchInputGradient<T>& patch) {
  return std::is_same_v<T, float> && patch.channels <= max_patch_channels &&
         patch.width <= max_patch_width && patch.channels % simt::Pack<T>::count == 0 &&
         patch.width % simt::Pack<T>::count == 0 && patch.widths == nullptr &&
         simt::aligned_16(patch.up, patch.down);
}

/// Both products for a tile of rows by one block, with dh and dm in shared memory.
template <MathMode mode>
class PatchGradientTile {
 public:
  struct Shared {
    /// [patch_rows][stride of channels], zero past the channels up to the next multiple of `depth`
    float* dh;
    float* hidden;  ///< [patch_rows][stride of width]: dm
    float* panels;  ///< the weights of either product
  };
  static constexpr int depth = 32;
  static int __host__ __device__ __forceinline__ stride(std::int64_t width) {
    return resident_stride<mode>(static_cast<int>(width));
  }
  __device__ __forceinline__ static Shared take(simt::SharedCarver& carver,
                                                const PatchInputGradient<float>& patch) {
    float* const dh = carver.take<float>(patch_rows * stride(patch.channels));
    float* const hidden = carver.take<float>(patch_rows * stride(patch.widest));
    return {dh, hidden, Input::take_b(carver)};
  }
  static std::size_t shared_bytes(const PatchInputGradient<float>& patch) {
    return simt::piece_bytes<float>(patch_rows * stride(patch.channels)) +
           simt::piece_bytes<float>(patch_rows * stride(patch.widest)) + Input::shared_bytes_b();
  }

  /// Processes the rows of a tile. All threads call it after they have written their part of
  /// shared.dh.
  __device__ __forceinline__ static void run(const Shared& shared, PatchInputGradient<float> patch,
                                             const RowTile& tile) {
    const std::int64_t first = tile.first;
    patch.rows = tile.end;
    const int dh_stride = stride(patch.channels);
    if (patch.bank.is_plain(tile.sequence)) {
      copy_dh(shared, patch, first, dh_stride);
      return;
    }
    patch.select(tile.sequence);
    const int hidden_stride = stride(patch.widest);
    for (int column = 0; column < patch.widest; column += hidden_shape.columns) {
      Hidden sum;
      sum.clear();
      sum.add_resident(shared.dh, dh_stride, shared.panels, slices_of(patch.channels, depth),
                       DepthRows<float>{.at = patch.up,
                                        .stride = patch.channels,
                                        .first = column,
                                        .rows = patch.width,
                                        .depth = patch.channels,
                                        .slice_depth = depth});
      sum.visit([&](int i, int j, float value) {
        const bool inside = first + i < patch.rows && column + j < patch.widest;
        const std::int64_t at = (first + i) * patch.widest + column + j;
        const float dm =
            inside ? UnarySlope<float, UnaryFunction::gelu>{}(patch.bottleneck[at], value) : 0.0F;
        shared.hidden[i * hidden_stride + column + j] = dm;
        if (inside && patch.dm != nullptr) patch.dm[at] = dm;
        if (inside && patch.active != nullptr)
          patch.active[at] = Unary<float, UnaryFunction::gelu>{}(patch.bottleneck[at]);
      });
    }
    if (patch.dx == nullptr) return;
    for (int column = 0; column < patch.channels; column += input_shape.columns) {
      Input sum;
      sum.clear();
      sum.add_resident(shared.hidden, hidden_stride, shared.panels, slices_of(patch.width, depth),
                       DepthRows<float>{.at = patch.down,
                                        .stride = patch.width,
                                        .first = column,
                                        .rows = patch.channels,
                                        .depth = patch.width,
                                        .slice_depth = depth});
      sum.visit([&](int i, int j, float value) {
        if (first + i >= patch.rows || column + j >= patch.channels) return;
        patch.dx[(first + i) * patch.channels + column + j] =
            shared.dh[i * dh_stride + column + j] + value;
      });
    }
  }

 private:
  /// dx = dh.
  __device__ __forceinline__ static void copy_dh(const Shared& shared,
                                                 const PatchInputGradient<float>& patch,
                                                 std::int64_t first, int dh_stride) {
    simt::wait_copies<0>();
    __syncthreads();
    if (patch.dx == nullptr) return;
    for (int r = simt::warp(); r < patch_rows && first + r < patch.rows; r += patch_threads / 32) {
      for (int c = simt::lane(); c < patch.channels; c += 32)
        patch.dx[(first + r) * patch.channels + c] = shared.dh[r * dh_stride + c];
    }
  }

  static constexpr TileShape hidden_shape{
      .rows = patch_rows, .columns = 32, .depth = depth, .row_warps = 1, .column_warps = 4};
  static constexpr TileShape input_shape{
      .rows = patch_rows, .columns = 64, .depth = depth, .row_warps = 1, .column_warps = 4};
  using Hidden = TileProduct<float, mode, hidden_shape, Contiguous::depth, Contiguous::depth, true>;
  using Input = TileProduct<float, mode, input_shape, Contiguous::depth, Contiguous::depth, true>;
  static_assert(Hidden::threads == patch_threads && Input::threads == patch_threads);
  // The panels of Input are large enough for Hidden.
  static_assert(hidden_shape.columns <= input_shape.columns);
};

/// Both products for a given dh = dy. At least four blocks per multiprocessor: without a bound
/// ptxas aims at five, and exact arithmetic spills registers.
template <MathMode mode>
__global__ void __launch_bounds__(patch_threads, 4)
    patch_input_gradient(const float* dy, PatchInputGradient<float> patch) {
  using Tile = PatchGradientTile<mode>;
  constexpr int pack = simt::Pack<float>::count;
  const RowTile tile = patch.bank.tile<patch_rows>(blockIdx.x);
  simt::SharedCarver carver;
  const auto shared = Tile::take(carver, patch);
  const int stride = Tile::stride(patch.channels);
  const int groups = slices_of(patch.channels, Tile::depth) * Tile::depth / pack;
  for (int i = static_cast<int>(threadIdx.x); i < patch_rows * groups; i += patch_threads) {
    const int row = i / groups;
    const int column = i % groups * pack;
    const bool inside = tile.first + row < tile.end && column < patch.channels;
    const float* const from = inside ? dy + (tile.first + row) * patch.channels + column : nullptr;
    simt::copy_async<16>(shared.dh + row * stride + column, from, inside);
  }
  simt::commit_copies();  // a group before that of the first product, which waits for both
  Tile::run(shared, patch, tile);
}

/// True when patch_input_gradient() for dh in memory calls cuBLASLt.
template <class T>
bool needs_library(const PatchInputGradient<T>& patch) {
  return std::is_same_v<T, float> && patch.bank.rows == nullptr;
}

/// Both products for dh in memory by two cuBLASLt products with the derivative of the GELU between
/// them.
inline void patch_input_gradient_by_products(const float* dh,
                                             const PatchInputGradient<float>& patch,
                                             const MutableView& library) {
  const Shape shape{patch.rows, patch.width};
  const MutableView dm{patch.dm, shape, DType::f32, Device::cuda};
  multiply_matrices({.a = dh,
                     .b = patch.up,
                     .c = patch.dm,
                     .rows = patch.rows,
                     .columns = patch.width,
                     .depth = patch.channels,
                     .transpose_b = true,
                     .workspace = library});
  kernel(UnaryBackward{.x = {patch.bottleneck, shape, DType::f32, Device::cuda},
                       .dy = dm,
                       .dx = dm,
                       .function = UnaryFunction::gelu});
  if (patch.dx == nullptr) return;
  multiply_matrices({.a = patch.dm,
                     .b = patch.down,
                     .added = dh,
                     .c = patch.dx,
                     .rows = patch.rows,
                     .columns = patch.channels,
                     .depth = patch.width,
                     .transpose_b = true,
                     .workspace = library});
}

/// Both products for dh in memory, of any shape: in f32 two cuBLASLt products with the
/// derivative of the GELU between them; in f64 and for a bank two launches. library: from
/// take_product_scratch if needs_library(), otherwise empty.
template <class T>
void patch_input_gradient(const char* name, const T* dh, const PatchInputGradient<T>& patch,
                          const MutableView& library) {
  if constexpr (std::is_same_v<T, float>) {
    if (needs_library(patch)) {
      patch_input_gradient_by_products(dh, patch, library);
      return;
    }
  }
  const InputGradient<T> to_bottleneck{.dm = dh,
                                       .down = patch.up,
                                       .depth = patch.channels,
                                       .bank = {.of = patch.bank, .columns = patch.widths},
                                       .before = patch.bottleneck,
                                       .dx = patch.dm,
                                       .rows = patch.rows,
                                       .columns = patch.width};
  input_gradient(name, to_bottleneck);
  if (patch.dx == nullptr) return;
  const InputGradient<T> to_input{.dm = patch.dm,
                                  .down = patch.down,
                                  .depth = patch.width,
                                  .bank = {.of = patch.bank, .depths = patch.widths},
                                  .skip = dh,
                                  .dx = patch.dx,
                                  .rows = patch.rows,
                                  .columns = patch.channels};
  input_gradient(name, to_input);
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
