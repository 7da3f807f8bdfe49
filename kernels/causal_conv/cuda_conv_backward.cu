// Gradients of a dilated convolution on the GPU, and the products that they share with the
// gradients of the patch. Device: f32, f64.
//   dx[b,t,c]  = sum_{k,o} dy[b, t - shift + k dilation, o] w[k,c,o]
//                shift = 0 (causal) or look_ahead (same)
//   dw[k,c,o]  = sum_{b,t} x[b, t + shift - k dilation, c] dy[b,t,o]
//                steps outside [0,T) are zeros
//   dbias[o]   = sum_{b,t} dy[b,t,o]
// Shapes: x, dx [B,T,Cin], dy [B,T,Cout], w, dw [K,Cin,Cout], dbias [Cout].
//
// dx: a block computes 64 rows (b,t) by 64 channels, as one product over k = (tap, out). Its
// factors stream through shared memory in slices of 32 (f64: 16) with three stages; the rows of the
// taps are read in place. On request the same launch adds a dense layer, a skip connection and the
// derivative of a GELU (InputGradient). Blocks that share rows are neighbours, so that dy is read
// from the second-level cache after the first block. With a bank of dense layers the tiles do not
// cross sequences.
// dw: outer_products.cuh with one task per tap. dbias: column_sums.cuh. With more than 64 input or
// output channels in f32, cuBLASLt products compute dx and dw (cuda_product_conv.cu).
//
// FLOPs: 2 K Cin Cout rows. Memory traffic: dy and dx once, w once per 64 rows from the cache.
// Bound by arithmetic from 64 channels on, otherwise by memory bandwidth. Any shape up to 2^31 - 1
// tiles.

#include "kernels/causal_conv/conv_backward.cuh"
#include "kernels/causal_conv/product_conv.cuh"
#include "kernels/kernel.hpp"
#include "refrain/kernels/causal_conv.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {
namespace {

/// Row p of x shifted by a tap.
template <class T>
struct ShiftedRows {
  const T* x;
  TapSteps steps;
  std::int64_t width;
  __device__ __forceinline__ const T* operator()(std::int64_t tap, std::int64_t p) const {
    bool inside = false;
    const std::int64_t moved = steps.distance(steps.step_of(p), tap, inside);
    return inside ? x + (p + moved) * width : nullptr;
  }
};

template <class T>
struct PlainRows {
  const T* x;
  std::int64_t width;
  __device__ __forceinline__ const T* operator()(std::int64_t, std::int64_t p) const {
    return x + p * width;
  }
};

}  // namespace

template <class T>
void input_gradient(const char* name, const InputGradient<T>& gradient) {
  if (gradient.rows == 0 || gradient.columns == 0) return;
  const bool is_banked = gradient.bank.of.rows != nullptr;
  const std::int64_t row_tiles = is_banked ? gradient.bank.of.tiles(gradient_tile)
                                           : BankRows::of({}, gradient.rows).tiles(gradient_tile);
  const std::int64_t column_tiles = (gradient.columns + gradient_tile - 1) / gradient_tile;
  const bool packs = whole_packs<T>(gradient.out) && whole_packs<T>(gradient.depth) &&
                     gradient.bank.depths == nullptr && gradient.bank.columns == nullptr &&
                     simt::aligned_16(gradient.dy, gradient.w, gradient.dm, gradient.down);
  for_math_mode<T>([&]<MathMode mode>() {
    const auto start = [&]<bool aligned>() {
      using Product = GradientProduct<T, mode, aligned>;
      const simt::Launch how{
          .name = name,
          .grid = simt::blocks_for(row_tiles * column_tiles, 1),
          .block = Product::threads,
          .shared_bytes = simt::piece_bytes<T>(gradient_elements<T, mode, aligned>)};
      if (is_banked) {
        simt::launch(how, bank_gradient_tile<T, mode, aligned>, gradient);
      } else {
        simt::launch(how, input_gradient_tile<T, mode, aligned>, gradient);
      }
    };
    packs ? start.template operator()<true>() : start.template operator()<false>();
  });
}
template void input_gradient<float>(const char*, const InputGradient<float>&);
template void input_gradient<double>(const char*, const InputGradient<double>&);

template <class T>
void weight_gradient(const char* name, const WeightGradient<T>& gradient) {
  const OuterProducts<T, ShiftedRows<T>, PlainRows<T>> products{
      .a = {gradient.x, gradient.steps, gradient.in},
      .b = {gradient.dy, gradient.out},
      .count = gradient.rows,
      .inner = gradient.in,
      .columns = gradient.out,
      .tasks = gradient.taps,
      .aligned = whole_packs<T>(gradient.in) && whole_packs<T>(gradient.out) &&
                 simt::aligned_16(gradient.x, gradient.dy)};
  sum_of_outer_products(name, products, false, gradient.dw, gradient.parts);
}
template void weight_gradient<float>(const char*, const WeightGradient<float>&);
template void weight_gradient<double>(const char*, const WeightGradient<double>&);

namespace {

/// Scratch memory.
template <class T>
struct ConvBackwardPlan {
  T* weight_parts = nullptr;
  T* bias_parts = nullptr;
  ProductConvolution products;  ///< for more than max_tile_channels channels

  ConvBackwardPlan(const CausalConvBackward& args, Scratch& scratch) {
    const Shape& w = args.w.shape;
    const std::int64_t rows = args.dy.shape.rows();
    if (!goes_to_library<T>(w[1], w[2])) {
      if (args.dw) weight_parts = scratch.take<T>(outer_parts(rows, w[1], w[2], w[0]));
    } else if (args.dx || args.dw) {
      products = {
          CausalConvBackward::name,
          {args.dy.shape[0], args.dy.shape[1], w[1], w[2], w[0], args.dilation, args.padding},
          args.max_gathered_bytes,
          take_product_scratch(scratch),
          scratch};
    }
    if (args.dbias) bias_parts = scratch.take<T>(column_parts(rows, w[2], 1));
  }
};

/// dx and dw by tiles.
template <class T>
void gradients_by_tiles(const CausalConvBackward& args, const ConvBackwardPlan<T>& plan) {
  constexpr const char* name = CausalConvBackward::name;
  const Shape& w = args.w.shape;
  const std::int64_t rows = args.dy.shape.rows();
  const std::int64_t steps = args.dy.shape[1];
  const T* const dy = args.dy.as<T>();
  if (args.dx) {
    const InputGradient<T> gradient{
        .dy = dy,
        .w = args.w.as<T>(),
        .steps = TapSteps::backward(args.padding, w[0], args.dilation, steps),
        .taps = w[0],
        .out = w[2],
        .dx = args.dx.as<T>(),
        .rows = rows,
        .columns = w[1]};
    input_gradient(name, gradient);
  }
  if (args.dw) {
    const WeightGradient<T> gradient{
        .x = args.x.as<T>(),
        .dy = dy,
        .steps = TapSteps::forward(args.padding, w[0], args.dilation, steps),
        .taps = w[0],
        .rows = rows,
        .in = w[1],
        .out = w[2],
        .dw = args.dw.as<T>(),
        .parts = plan.weight_parts};
    weight_gradient(name, gradient);
  }
}

template <class T>
void backward(const CausalConvBackward& args, Scratch& scratch) {
  const ConvBackwardPlan<T> plan(args, scratch);
  if (scratch.is_counting()) return;
  const Shape& w = args.w.shape;
  const T* const dy = args.dy.as<T>();
  if (!goes_to_library<T>(w[1], w[2])) {
    gradients_by_tiles(args, plan);
  } else if constexpr (std::is_same_v<T, float>) {
    if (args.dx) plan.products.input_gradient(dy, args.w.as<T>(), nullptr, false, args.dx.as<T>());
    if (args.dw) plan.products.weight_gradient(args.x.as<T>(), dy, args.dw.as<T>());
  }
  if (args.dbias) {
    bias_gradient(CausalConvBackward::name, dy, args.dy.shape.rows(), w[2], args.dbias.as<T>(),
                  plan.bias_parts);
  }
}

}  // namespace

template <>
void kernel(const CausalConvBackward& args, Scratch& scratch) {
  for_floating<CausalConvBackward>(args.dy.dtype, [&]<class T>(T) { backward<T>(args, scratch); });
}

template void entry(const CausalConvBackward&, ScratchMemory&);

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
