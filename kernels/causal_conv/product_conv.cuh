#pragma once
/// Convolutions of many channels in f32 as products of cuBLASLt; formulas, grids and bytes:
/// cuda_product_conv.cu.

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "kernels/causal_conv/conv_rows.cuh"
#include "kernels/matmul/product_scratch.hpp"
#include "kernels/scratch.hpp"
#include "kernels/simt.hpp"
#include "kernels/tiling/register_row.cuh"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

/// Maximum number of channels of a convolution by tiles in f32; wider ones use cuBLASLt. Up to this
/// limit one launch by tiles moves fewer bytes.
inline constexpr std::int64_t max_tile_channels = 64;

template <class T>
constexpr bool goes_to_library(std::int64_t in, std::int64_t out) {
  return std::is_same_v<T, float> && std::max(in, out) > max_tile_channels;
}

// ---- kernels ----

/// Rows of whole sequences, and the row that each tap reads.
struct TapRowsShape {
  TapSteps steps;
  std::int64_t taps;
  std::int64_t rows;
  std::int64_t channels;
};

inline constexpr int tap_warps = 8;  // warps of a block, one row each

/// columns [rows,taps,channels]: at (p, k) the row of x that tap k reads, zeros outside the
/// sequence.
template <int n, int items>
__global__ void __launch_bounds__(tap_warps * 32)
    gather_taps(TapRowsShape shape, const float* x, float* columns) {
  constexpr std::int64_t step = 32 * n * items;
  const std::int64_t p = static_cast<std::int64_t>(blockIdx.x) * tap_warps + simt::warp();
  if (p >= shape.rows) return;  // the whole warp
  const std::int64_t t = shape.steps.step_of(p);
  for (std::int64_t c = 0; c < shape.channels; c += step) {
    const std::int64_t left = shape.channels - c;
    for (std::int64_t tap = 0; tap < shape.taps; ++tap) {
      bool inside = false;
      const std::int64_t moved = shape.steps.distance(t, tap, inside);
      WarpRow<float, n, items> row;
      row.load(x + (inside ? p + moved : p) * shape.channels + c, inside ? left : 0);
      row.store(columns + (p * shape.taps + tap) * shape.channels + c, left);
    }
  }
}

/// dx[p] = (dx[p] if `add`) (+ skip[p]) + the sum over k of columns (row that tap k reads, k);
/// columns as above, taps in ascending order.
template <int n, int items>
__global__ void __launch_bounds__(tap_warps * 32)
    sum_taps(TapRowsShape shape, const float* columns, const float* skip, bool add, float* dx) {
  using Row = WarpRow<float, n, items>;
  constexpr std::int64_t step = 32 * n * items;
  const std::int64_t p = static_cast<std::int64_t>(blockIdx.x) * tap_warps + simt::warp();
  if (p >= shape.rows) return;  // the whole warp
  const std::int64_t t = shape.steps.step_of(p);
  float* const to = dx + p * shape.channels;
  for (std::int64_t c = 0; c < shape.channels; c += step) {
    const std::int64_t left = shape.channels - c;
    Row sum;
    sum.load(to + c, add ? left : 0);
    if (skip != nullptr) {
      Row row;
      row.load(skip + p * shape.channels + c, left);
      sum.add(row);
    }
    for (std::int64_t tap = 0; tap < shape.taps; ++tap) {
      bool inside = false;
      const std::int64_t moved = shape.steps.distance(t, tap, inside);
      if (!inside) continue;
      Row row;
      row.load(columns + ((p + moved) * shape.taps + tap) * shape.channels + c, left);
      sum.add(row);
    }
    sum.store(to + c, left);
  }
}

// ---- on the host ----

/// One convolution x [batch,steps,in], w [taps,in,out] -> [batch,steps,out], f32, and its scratch
/// memory.
class ProductConvolution {
 public:
  struct Extents {
    std::int64_t batch, steps, in, out, taps, dilation;
    Padding padding;
  };

  ProductConvolution() = default;
  /// max_bytes: limit of the gathered rows; at least one sequence is gathered at a time. library:
  /// from take_product_scratch.
  ProductConvolution(const char* name, const Extents& extents, std::int64_t max_bytes,
                     const MutableView& library, Scratch& scratch);

  /// y = conv(x) + bias; bias may be null.
  void forward(const float* x, const float* w, const float* bias, float* y) const;

  /// dx = (dx if `add`) (+ skip [batch,steps,in]) + the gradient through the convolution.
  void input_gradient(const float* dy, const float* w, const float* skip, bool add,
                      float* dx) const;

  void weight_gradient(const float* x, const float* dy, float* dw) const;

 private:
  std::int64_t rows() const { return e_.batch * e_.steps; }
  std::int64_t width() const { return e_.taps * e_.in; }  ///< elements of a row of columns
  /// false for one tap, which reads the rows in place
  bool gathered() const { return e_.taps > 1; }

  const float* gather(const float* x, std::int64_t sequences) const;
  void sum(const float* columns, std::int64_t taps, std::int64_t sequences, const float* skip,
           bool add, float* dx) const;
  template <class Body>
  void for_slices(const Body& body) const;

  const char* name_ = "";
  Extents e_{};
  std::int64_t slice_ = 0;    ///< sequences of a slice
  float* columns_ = nullptr;  ///< [slice steps, taps, in]
  MutableView library_{};
};

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
