#pragma once
/// The gradients of a patch, for the patch and for half a residual block; formulas, grids and
/// bytes: cuda_backward.cu.

#include <algorithm>
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

/// The same by two cuBLASLt products with the derivative of the GELU between them.
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

// ---- weights ----

/// Factors of the gradients of both weights: task 0 is ddown = x^T dm, task 1 the transpose of dup,
/// dh^T active. Null where a gradient is not requested.
template <class T>
struct PatchPairRows {
  const T* of_down;
  const T* of_up;
  std::int64_t width;
  __device__ __forceinline__ const T* operator()(std::int64_t task, std::int64_t p) const {
    const T* const from = task == 0 ? of_down : of_up;
    return from == nullptr ? nullptr : from + p * width;
  }
};

/// Their partial sums [parts,2,C,D] as terms of ddown [C,D] and dup [D,C].
template <class T>
struct PatchPairTerms {
  using Element = T;
  static constexpr int sums = 2;
  const T* parts;
  std::int64_t channels;
  std::int64_t width;
  __device__ __forceinline__ void read(std::int64_t part, std::int64_t column,
                                       T (&terms)[2]) const {
    const T* const of_part = parts + part * 2 * channels * width;
    terms[0] = of_part[column];
    terms[1] = of_part[(channels + column % channels) * width + column / channels];
  }
};

/// The gradients of the weights of a bank from their sums.
template <class T>
struct PlacedBankGradients {
  const T* sums;  ///< [G,2,channels,widest]: ddown, and the transpose of dup
  BankRows bank;
  const std::int32_t* widths;  ///< [K], or null
  std::int64_t channels;
  std::int64_t widest;
  T* down;  ///< [G,channels,widest], or null
  T* up;    ///< [G,widest,channels], or null
};

/// Row (blockIdx.y) of the gradients: the elements of its patch, then zeros.
template <class T>
__global__ void __launch_bounds__(pointwise_threads)
    place_bank_gradients(PlacedBankGradients<T> of) {
  const std::int64_t used = blockIdx.y;
  std::int64_t width = of.widest;
  if (of.widths != nullptr) {
    const BankSegment segment = segment_of(of.bank, used);
    if (segment.begin < segment.end) width = of.widths[of.bank.rows[segment.begin]];
  }
  const std::int64_t i = simt::global_thread();
  if (i >= of.channels * of.widest) return;
  const bool inside = i < of.channels * width;
  const std::int64_t to = used * of.channels * of.widest + i;
  const T* const sums = of.sums + used * 2 * of.channels * of.widest;
  if (of.down != nullptr) of.down[to] = inside ? sums[i / width * of.widest + i % width] : T{0};
  if (of.up != nullptr) {
    of.up[to] = inside ? sums[(of.channels + i % of.channels) * of.widest + i / of.channels] : T{0};
  }
}

/// The requested gradients of the weights of a patch, and their scratch memory:
///   ddown = x^T dm,  ddown_bias = sum of dm,  dup = gelu(bottleneck)^T dh,  dup_bias = sum of dh
/// Both products of a narrow patch in f32 take one launch and one for their partial sums; others
/// use cuBLASLt in f32 and outer_products.cuh in f64. For a bank one launch computes the sums over
/// the rows of each patch, [G,2,C,D], and one places them in the rows of the bank.
template <class T>
class PatchWeightGradient {
 public:
  PatchWeightGradient() = default;
  /// library: from take_product_scratch if needs_library(), otherwise empty.
  PatchWeightGradient(const PatchGradients& wanted, const PatchViews& patch, std::int64_t rows,
                      const MutableView& library, Scratch& scratch)
      : wanted_(wanted),
        rows_(rows),
        channels_(patch.down.shape[-2]),
        width_(patch.down.shape[-1]),
        bank_(BankRows::of(patch.bank_rows, rows)),
        widths_(patch.widths.as<std::int32_t>()),
        library_(library) {
    const std::int64_t channels = channels_, width = width_;
    if (wanted.up) active_ = scratch.take<T>(rows * width);
    if (is_bank()) {
      if (wanted.down || wanted.up) parts_ = scratch.take<T>(used() * 2 * channels * width);
      return;
    }
    if (in_pair(wanted, channels, width)) {
      parts_ = scratch.take<T>(outer_cut(rows, channels, width, 2).parts * 2 * channels * width);
    } else if (std::is_same_v<T, double> && (wanted.down || wanted.up)) {
      const std::int64_t of_down = wanted.down ? outer_parts(rows, channels, width) : 0;
      const std::int64_t of_up = wanted.up ? outer_parts(rows, width, channels) : 0;
      parts_ = scratch.take<T>(std::max(of_down, of_up));
    }
    if (wanted.down_bias || wanted.up_bias) {
      bias_parts_ = scratch.take<T>(
          column_parts(rows, wanted.up_bias ? std::max(channels, width) : width, 1));
    }
  }

  static bool needs_library(const PatchGradients& wanted, const PatchViews& patch) {
    return std::is_same_v<T, float> && !patch.bank_rows && (wanted.down || wanted.up) &&
           !in_pair(wanted, patch.down.shape[-2], patch.down.shape[-1]);
  }

  /// Memory for gelu(bottleneck) [rows,width], which run() reads; null when up is not requested.
  T* active() const { return active_; }

  /// x: the input of the patch [rows,channels], read for down; dm: read for down and its bias; dh:
  /// read for up and its bias. is_active: active() contains gelu(bottleneck).
  void run(const char* name, const T* x, const T* bottleneck, bool is_active, const T* dm,
           const T* dh) const {
    if (wanted_.up && !is_active) {
      const Shape shape{rows_, width_};
      kernel(UnaryForward{.x = {bottleneck, shape, dtype_of<T>, Device::cuda},
                          .y = {active_, shape, dtype_of<T>, Device::cuda},
                          .function = UnaryFunction::gelu});
    }
    if (is_bank()) return run_bank(name, x, dm, dh);
    if (in_pair(wanted_, channels_, width_)) {
      run_pair(name, x, dm, dh);
    } else {
      if (wanted_.down) multiply(name, x, channels_, dm, width_, wanted_.down.as<T>());
      if (wanted_.up) multiply(name, active_, width_, dh, channels_, wanted_.up.as<T>());
    }
    if (wanted_.down_bias)
      bias_gradient(name, dm, rows_, width_, wanted_.down_bias.as<T>(), bias_parts_);
    if (wanted_.up_bias)
      bias_gradient(name, dh, rows_, channels_, wanted_.up_bias.as<T>(), bias_parts_);
  }

 private:
  static bool in_pair(const PatchGradients& wanted, std::int64_t channels, std::int64_t width) {
    return std::is_same_v<T, float> && (wanted.down || wanted.up) &&
           channels <= max_patch_channels && width <= 32;
  }

  bool is_bank() const { return bank_.rows != nullptr; }

  /// G of the gradients of a bank.
  std::int64_t used() const {
    for (const MutableView* gradient :
         {&wanted_.down, &wanted_.down_bias, &wanted_.up, &wanted_.up_bias}) {
      if (*gradient) return gradient->shape[0];
    }
    return 0;
  }

  OuterProducts<T, PatchPairRows<T>, PatchPairRows<T>> pair(const T* x, const T* dm,
                                                            const T* dh) const {
    return {.a = {wanted_.down ? x : nullptr, wanted_.up ? dh : nullptr, channels_},
            .b = {wanted_.down ? dm : nullptr, active_, width_},
            .count = rows_,
            .inner = channels_,
            .columns = width_,
            .tasks = 2,
            .aligned = whole_packs<T>(channels_) && whole_packs<T>(width_) &&
                       simt::aligned_16(x, dh, dm, active_)};
  }

  void run_bank(const char* name, const T* x, const T* dm, const T* dh) const {
    const std::int64_t used = this->used(), elements = channels_ * width_;
    if (parts_ != nullptr && used > 0 && elements > 0) {
      const unsigned along_y = blocks_of_bank(used);
      start_outer_products(name, pair(x, dm, dh), outer_tiles(channels_, width_, 2),
                           BankSlices{bank_}, along_y, false, parts_);
      const PlacedBankGradients<T> placed{.sums = parts_,
                                          .bank = bank_,
                                          .widths = widths_,
                                          .channels = channels_,
                                          .widest = width_,
                                          .down = wanted_.down.template as<T>(),
                                          .up = wanted_.up.template as<T>()};
      const simt::Launch how{.name = name,
                             .grid = dim3(simt::blocks_for(elements, pointwise_threads), along_y),
                             .block = pointwise_threads};
      simt::launch(how, place_bank_gradients<T>, placed);
    }
    const auto sum = [&](const T* terms, std::int64_t width, const MutableView& out) {
      if (!out) return;
      const MatrixTerms<T, 1> of_rows{.from = terms, .stride = width, .apart = 0};
      sum_columns_of_bank(name, of_rows, bank_, used, width,
                          ColumnTargets<T, 1>{.to = {out.as<T>()}, .stride = width});
    };
    sum(dm, width_, wanted_.down_bias);
    sum(dh, channels_, wanted_.up_bias);
  }

  void run_pair(const char* name, const T* x, const T* dm, const T* dh) const {
    const std::int64_t elements = channels_ * width_;
    if (elements == 0) return;
    const OuterCut cut = outer_cut(rows_, channels_, width_, 2);
    start_outer_products(name, pair(x, dm, dh), cut, false, parts_);
    sum_columns(name, PatchPairTerms<T>{parts_, channels_, width_}, cut.parts, elements,
                ColumnTargets<T, 2>{.to = {wanted_.down.as<T>(), wanted_.up.as<T>()}, .stride = 0},
                static_cast<T*>(nullptr));
  }

  /// out [inner,columns] = a^T b, a [rows,inner], b [rows,columns].
  void multiply(const char* name, const T* a, std::int64_t inner, const T* b, std::int64_t columns,
                T* out) const {
    if constexpr (std::is_same_v<T, double>) {
      weight_gradient(name, WeightGradient<T>::dense(a, b, rows_, inner, columns, out, parts_));
    } else {
      multiply_matrices({.a = a,
                         .b = b,
                         .c = out,
                         .rows = inner,
                         .columns = columns,
                         .depth = rows_,
                         .transpose_a = true,
                         .workspace = library_});
    }
  }

  PatchGradients wanted_;
  std::int64_t rows_ = 0;
  std::int64_t channels_ = 0;
  std::int64_t width_ = 0;  ///< of the widest patch of a bank
  BankRows bank_{};
  const std::int32_t* widths_ = nullptr;
  MutableView library_{};
  T* parts_ = nullptr;
  T* active_ = nullptr;
  T* bias_parts_ = nullptr;
};

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
