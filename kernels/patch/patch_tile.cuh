#pragma once
/// A patch on a tile of rows in shared memory, shared by patch_forward and conv_norm_forward.

#include <algorithm>
#include <cstdint>

#include "kernels/causal_conv/conv_tile.cuh"
#include "kernels/pointwise/kernels.cuh"
#include "kernels/simt.hpp"
#include "kernels/tiling/bank_rows.cuh"
#include "kernels/tiling/tiles.cuh"
#include "refrain/kernels/patch.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

/// A patch, or the patches of a bank, whose weights are then [K,C,D], [K,D], [K,D,C] and [K,C].
template <class T>
struct Patch {
  const T* down;       ///< [C,D]
  const T* down_bias;  ///< [D]
  const T* up;         ///< [D,C]
  const T* up_bias;    ///< [C]
  T* saved;            ///< [rows,widest] before the GELU, or null
  std::int64_t channels;
  std::int64_t bottleneck;     ///< D
  std::int64_t widest;         ///< D of the widest patch of a bank
  BankRows bank;               ///< of all rows of the batch
  const std::int32_t* widths;  ///< [K] D of each patch of a bank, or null

  /// `rows`: of the batch.
  Patch(const PatchViews& weights, const MutableView& saved_to, std::int64_t rows)
      : down(weights.down.as<T>()),
        down_bias(weights.down_bias.as<T>()),
        up(weights.up.as<T>()),
        up_bias(weights.up_bias.as<T>()),
        saved(saved_to.as<T>()),
        channels(weights.down ? weights.down.shape[-2] : 0),
        bottleneck(weights.down ? weights.down.shape[-1] : 0),
        widest(bottleneck),
        bank(BankRows::of(weights.bank_rows, rows)),
        widths(weights.widths.as<std::int32_t>()) {}

  /// True when all rows are multiples of 16 bytes.
  bool aligned() const {
    return bottleneck % simt::Pack<T>::count == 0 && widths == nullptr &&
           simt::aligned_16(down, up);
  }

  /// Selects the patch of a sequence that has one.
  __device__ __forceinline__ void select(std::int64_t sequence) {
    if (bank.rows == nullptr) return;
    const std::int64_t row = bank.rows[sequence];
    down += row * channels * widest;
    down_bias += row * widest;
    up += row * widest * channels;
    up_bias += row * channels;
    if (widths != nullptr) bottleneck = widths[row];
  }
};

/// Both products of a patch for one tile. All D results of the first product stay in shared memory
/// until those of the second are added to the tile, so that the registers hold the sums of one
/// product at a time.
template <class T, MathMode mode, int columns, bool aligned>
struct PatchTile {
  static constexpr int hidden_columns = 32;  ///< columns of the bottleneck at a time
  static constexpr int warps = tile_warps<T>(columns);
  static constexpr TileShape up_shape{.rows = conv_tile_rows,
                                      .columns = columns,
                                      .depth = 16,
                                      .row_warps = warps == 16 ? 4 : 2,
                                      .column_warps = warps == 16 ? 4 : warps / 2};
  static constexpr TileShape down_shape{.rows = conv_tile_rows,
                                        .columns = hidden_columns,
                                        .depth = 16,
                                        .row_warps = 4,
                                        .column_warps = warps / 4};
  using Down = TileProduct<T, mode, down_shape, Contiguous::depth, Contiguous::side, aligned>;
  using Up = TileProduct<T, mode, up_shape, Contiguous::depth, Contiguous::side, aligned>;
  static constexpr int threads = Up::threads;
  static constexpr int stride = resident_stride<mode>(columns);
  static constexpr int a_elements = 2 * Down::PanelA::elements;
  static constexpr int panel_elements =
      std::max(a_elements + 2 * Down::PanelB::elements, 2 * Up::PanelB::elements);

  /// The stride of a row of gelu(x down + down_bias).
  __host__ __device__ static constexpr int hidden_stride(std::int64_t widest) {
    return resident_stride<mode>(static_cast<int>(widest));
  }
  static constexpr std::size_t shared_bytes(std::int64_t widest) {
    return simt::piece_bytes<T>(std::int64_t{conv_tile_rows} * hidden_stride(widest)) +
           simt::piece_bytes<T>(panel_elements);
  }

  /// tile [conv_tile_rows][stride] += gelu(x down + down_bias) up + up_bias for rows `at`; nothing
  /// for a sequence without a patch. x is the rows of the tensor, or null for the tile itself,
  /// whose columns past C are zeros. All threads call it and may read the tile afterwards.
  __device__ __forceinline__ static void add(Patch<T> patch, const T* x, const RowTile& at,
                                             simt::SharedCarver& carver, T* tile) {
    if (patch.bank.is_plain(at.sequence)) {
      clear_saved(patch, at);
      return;
    }
    patch.select(at.sequence);
    const std::int64_t first = at.first;
    const std::int64_t rows = at.end;
    const int hidden_width = hidden_stride(patch.widest);
    T* const hidden =
        carver.take<T>(conv_tile_rows * hidden_width);  // [conv_tile_rows][hidden_width]
    T* const panels = carver.take<T>(panel_elements);   // for either product
    for (int d = 0; d < patch.widest; d += hidden_columns)
      make_hidden(patch, x, first, rows, d, tile, panels, hidden, hidden_width);
    const SideRows<T> weights{.at = patch.up,
                              .stride = patch.channels,
                              .first = 0,
                              .columns = patch.channels,
                              .depth = patch.bottleneck,
                              .slice_depth = Up::depth};
    Up up;
    start_from_bias(up, patch.up_bias, 0, patch.channels);
    up.add_resident(hidden, hidden_width, panels, slices_of(patch.bottleneck, Up::depth), weights);
    up.visit([&](int m, int n, T value) { tile[m * stride + n] += value; });
    __syncthreads();
  }

 private:
  /// saved = 0, which the backward pass of all rows together reads.
  __device__ __forceinline__ static void clear_saved(const Patch<T>& patch, const RowTile& at) {
    if (patch.saved == nullptr) return;
    const std::int64_t end =
        at.first + conv_tile_rows < at.end ? at.first + conv_tile_rows : at.end;
    for (std::int64_t i = at.first * patch.widest + static_cast<int>(threadIdx.x);
         i < end * patch.widest; i += threads) {
      patch.saved[i] = T{0};
    }
  }

  /// Columns d to d + hidden_columns of gelu(x down + down_bias); zeros past its end, as the second
  /// product requires.
  __device__ __forceinline__ static void make_hidden(const Patch<T>& patch, const T* x,
                                                     std::int64_t first, std::int64_t rows, int d,
                                                     const T* tile, T* panels, T* hidden,
                                                     int hidden_width) {
    const int slices = slices_of(patch.channels, Down::depth);
    const SideRows<T> weights{.at = patch.down,
                              .stride = patch.bottleneck,
                              .first = d,
                              .columns = patch.bottleneck,
                              .depth = patch.channels,
                              .slice_depth = Down::depth};
    Down down;
    start_from_bias(down, patch.down_bias, d, patch.bottleneck);
    if (x == nullptr) {
      down.add_resident(tile, stride, panels + a_elements, slices, weights);
    } else {
      const DepthRows<T> x_rows{.at = x,
                                .stride = patch.channels,
                                .first = first,
                                .rows = rows,
                                .depth = patch.channels,
                                .slice_depth = Down::depth};
      down.add({.a = panels, .b = panels + a_elements}, slices, x_rows, weights);
    }
    down.visit([&](int m, int n, T value) {
      const bool inside = d + n < patch.bottleneck;
      if (patch.saved != nullptr && d + n < patch.widest && first + m < rows)
        patch.saved[(first + m) * patch.widest + d + n] = value;
      hidden[m * hidden_width + d + n] = inside ? Unary<T, UnaryFunction::gelu>{}(value) : T{0};
    });
  }
};

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
