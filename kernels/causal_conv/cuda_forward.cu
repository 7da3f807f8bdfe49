// The dilated convolution over time on the GPU.  Device: f32, f64.
//   y[b,t,o] = bias[o] + sum_{k,c} w[k,c,o] x[b, t + shift - k dilation, c],   reads outside [0,T) are zero
// Shapes: x [B,T,Cin], w [K,Cin,Cout], bias [Cout], y [B,T,Cout].
//
// f32 of more than 64 channels, in or out: a product of the library on gathered rows
// (cuda_product_conv.cu). Otherwise, and for convolve(), an implicit product: rows p = (b,t) of x,
// which every tap reads elsewhere, times w as [K Cin, Cout]. Nothing is gathered: a tile's rows are
// copied to shared memory from where their tap reads, or as zeros. A block makes 64 rows by 64 or
// 128 columns (conv_tile.cuh), a warp 32 x 32 of them, f32 by math_mode(); sums pass through shared
// memory, so that y is written in whole rows. Moved: x K times per 128 output channels, w once per
// 64 rows, both mostly from second-level cache; y once. FLOPs 2 K Cin Cout B T. Limit: arithmetic
// from some 64 channels on, below that memory. Any extents, with up to 2^31 - 1 tiles; 128 columns
// and copies of 16 bytes where Cin, Cout and the addresses allow.

#include "kernels/causal_conv/forward.cuh"
#include "kernels/causal_conv/product_conv.cuh"
#include "kernels/cuda.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {
namespace {

template <class T>
void forward(const CausalConvForward& args, const View& added, Stream stream) {
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
                             .shared_bytes = simt::piece_bytes<T>(Tile::elements),
                             .stream = stream};
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

void convolve(const CausalConvForward& args, const View& added, Stream stream) {
  for_floating<CausalConvForward>(args.x.dtype,
                                  [&]<class T>(T) { forward<T>(args, added, stream); });
}

namespace {

bool by_products(const CausalConvForward& args) {
  return args.x.dtype == DType::f32 && goes_to_library<float>(args.w.shape[1], args.w.shape[2]);
}

ProductConvolution product_convolution(const CausalConvForward& args, const TapColumnLimit& limit,
                                       Scratch& scratch) {
  const Shape& w = args.w.shape;
  return {CausalConvForward::name,
          {args.x.shape[0], args.x.shape[1], w[1], w[2], w[0], args.dilation, args.padding},
          limit,
          take_product_scratch(scratch),
          scratch};
}

}  // namespace

void causal_conv_forward_in_slices(const CausalConvForward& args, const TapColumnLimit& limit,
                                   Stream stream) {
  if (!by_products(args)) return convolve(args, {}, stream);
  Scratch scratch(args.workspace.data);
  product_convolution(args, limit, scratch)
      .forward(args.x.as<float>(), args.w.as<float>(), args.bias.as<float>(), args.y.as<float>(),
               stream);
}

std::size_t causal_conv_forward_in_slices_workspace(const CausalConvForward& args,
                                                    const TapColumnLimit& limit) {
  if (!by_products(args)) return 0;
  Scratch scratch(nullptr);
  product_convolution(args, limit, scratch);
  return scratch.bytes();
}

void causal_conv_forward(const CausalConvForward& args, Stream stream) {
  causal_conv_forward_in_slices(args, {}, stream);
}
std::size_t causal_conv_forward_workspace(const CausalConvForward& args) {
  return causal_conv_forward_in_slices_workspace(args, {});
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
