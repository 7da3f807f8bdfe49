// The dilated convolution over time on the GPU.  Device: f32, f64.
//   y[b,t,o] = bias[o] + sum_{k,c} w[k,c,o] x[b, t + shift - k dilation, c]
//              reads outside [0,T) are zero
// Shapes: x [B,T,Cin], w [K,Cin,Cout], bias [Cout], y [B,T,Cout].
//
// With more than 64 input or output channels in f32: a cuBLASLt product on gathered rows
// (cuda_product_conv.cu). Otherwise, and for convolve(), an implicit product: rows p = (b,t) of x,
// shifted by each tap, times w as [K Cin, Cout]. Nothing is gathered: the rows of a tile are copied
// to shared memory from the address that the tap reads, or as zeros. A block computes 64 rows by 64
// or 128 columns (conv_tile.cuh), a warp 32 x 32 of them, f32 by math_mode(); sums pass through
// shared memory, so that whole rows of y are written.
//
// FLOPs: 2 K Cin Cout B T. Memory traffic: x K times per 128 output channels and w once per 64
// rows, both mostly from the second-level cache; y once. Bound by arithmetic from about 64 channels
// on, otherwise by memory bandwidth. Any extents with up to 2^31 - 1 tiles; 128 columns and 16-byte
// copies where Cin, Cout and the addresses allow.

#include "kernels/causal_conv/cuda.hpp"
#include "kernels/causal_conv/forward.cuh"
#include "kernels/causal_conv/product_conv.cuh"
#include "kernels/kernel.hpp"
#include "refrain/kernels/causal_conv.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {
namespace {

template <class T>
void forward(const CausalConvForward& args, const View& added) {
  const Convolution<T> conv = convolution_of<T>(args);
  if (conv.rows == 0 || conv.out == 0) return;
  T* const y = args.y.as<T>();
  const auto start = [&]<int columns, bool aligned>() {
    for_math_mode<T>([&]<MathMode mode>() {
      using Tile = ConvTile<T, mode, columns, aligned>;
      const std::int64_t row_tiles = (conv.rows + conv_tile_rows - 1) / conv_tile_rows;
      const std::int64_t column_tiles = (conv.out + columns - 1) / columns;
      const simt::Launch how{.name = CausalConvForward::name,
                             .grid = simt::blocks_for(row_tiles * column_tiles, 1),
                             .block = Tile::threads,
                             .shared_bytes = simt::piece_bytes<T>(Tile::elements)};
      simt::launch(how, convolve_tile<T, mode, columns, aligned>, conv, added.as<T>(), y);
    });
  };
  constexpr int pack = simt::Pack<T>::count;
  if (conv.in % pack != 0 || conv.out % pack != 0 ||
      !simt::aligned_16(conv.x, conv.w, added.as<T>(), y)) {
    return start.template operator()<64, false>();
  }
  if constexpr (sizeof(T) == 4) {
    if (conv.out > 64) return start.template operator()<128, true>();
  }
  start.template operator()<64, true>();
}

}  // namespace

void convolve(const CausalConvForward& args, const View& added) {
  for_floating<CausalConvForward>(args.x.dtype, [&]<class T>(T) { forward<T>(args, added); });
}

template <>
void kernel(const CausalConvForward& args, Scratch& scratch) {
  const Shape& w = args.w.shape;
  if (args.x.dtype != DType::f32 || !goes_to_library<float>(w[1], w[2])) {
    if (!scratch.is_counting()) convolve(args, {});
    return;
  }
  const ProductConvolution products(
      CausalConvForward::name,
      {args.x.shape[0], args.x.shape[1], w[1], w[2], w[0], args.dilation, args.padding},
      args.max_gathered_bytes, take_product_scratch(scratch), scratch);
  if (scratch.is_counting()) return;
  products.forward(args.x.as<float>(), args.w.as<float>(), args.bias.as<float>(),
                   args.y.as<float>());
}

template void entry(const CausalConvForward&, ScratchMemory&);

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
