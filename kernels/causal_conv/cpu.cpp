/// Dilated convolution on the CPU.
///
///   forward    y[row]  = bias + sum_k x[row + offset_k] w[k]
///              one product per tile of rows, all taps in one pass
///   backward   dx[row] = sum_k dy[row - offset_k] w[k]^T
///              the same product with w transposed and shifts negated
///              dw[k]   = sum_row x[row + offset_k] (outer) dy[row]
///              register tiles of dw, summed over the rows in order
/// A tile is tile_rows rows by all output channels; only the packed weights are copied. 2 K Cin
/// Cout rows FLOPs for the output and for each gradient; x and y are moved once. Any extents.

#include "kernels/causal_conv/taps.hpp"
#include "kernels/kernel.hpp"
#include "kernels/tiling/row_sums.hpp"
#include "refrain/kernels/causal_conv.hpp"

namespace refrain::kernels::cpu {
namespace {

template <class T>
struct ForwardPlan {
  WeightPanels<T> weights;
  T* zeros;

  ForwardPlan(const CausalConvForward& args, const ConvExtents& conv, Scratch& scratch)
      : weights(WeightPanels<T>::plan(args.w.as<T>(), conv.taps * conv.in, conv.out, conv.rows(),
                                      scratch)),
        zeros(scratch.take<T>(conv.in)) {}
};

template <class T>
struct BackwardPlan {
  WeightPanels<T> weights{};  ///< transposed
  T* zeros = nullptr;
  T* partial = nullptr;

  BackwardPlan(const CausalConvBackward& args, const ConvExtents& conv, Scratch& scratch) {
    if (args.dx) {
      weights = {scratch.take<T>(packed_size<T>(conv.taps * conv.out, conv.in)), true};
      zeros = scratch.take<T>(conv.out);
    }
    if (args.dbias) partial = scratch.take<T>(sum_blocks(conv.rows()) * conv.out);
  }
};

ConvExtents extents_of(const CausalConvForward& args) {
  return conv_extents(args.x.shape, args.w.shape, args.dilation, args.padding);
}

ConvExtents extents_of(const CausalConvBackward& args) {
  const Shape& w = args.w.shape;
  return {args.dy.shape[0],
          args.dy.shape[1],
          w[1],
          w[2],
          w[0],
          args.dilation,
          look_ahead(args.padding, w[0], args.dilation)};
}

template <class T>
void forward(const CausalConvForward& args, Scratch& scratch) {
  const ConvExtents conv = extents_of(args);
  const ForwardPlan<T> plan(args, conv, scratch);
  if (scratch.is_counting()) return;
  if (plan.weights.packed) pack_taps(args.w.as<T>(), conv, false, plan.weights.storage());
  std::fill_n(plan.zeros, conv.in, T(0));
  parallel_for(conv.rows(), product_rows_per_task(conv.rows(), conv.multiply_adds()),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t row = begin; row < end; row += tile_rows) {
                   const std::int64_t count = std::min<std::int64_t>(tile_rows, end - row);
                   T* const y = args.y.as<T>() + row * conv.out;
                   conv_tile(args.x.as<T>(), conv.in, plan.weights, conv.out, conv, false,
                             plan.zeros, row, count, y, conv.out, Start<T>::row(args.bias.as<T>()));
                 }
               });
}

template <class T>
void backward(const CausalConvBackward& args, Scratch& scratch) {
  const ConvExtents conv = extents_of(args);
  const BackwardPlan<T> plan(args, conv, scratch);
  if (scratch.is_counting()) return;
  const T* const dy = args.dy.as<T>();
  if (args.dx) {
    pack_taps(args.w.as<T>(), conv, true, plan.weights.storage());
    std::fill_n(plan.zeros, conv.out, T(0));
    parallel_for(conv.rows(), product_rows_per_task(conv.rows(), conv.multiply_adds()),
                 [&](std::int64_t begin, std::int64_t end) {
                   for (std::int64_t row = begin; row < end; row += tile_rows) {
                     conv_tile(dy, conv.out, plan.weights, conv.in, conv, true, plan.zeros, row,
                               std::min<std::int64_t>(tile_rows, end - row),
                               args.dx.as<T>() + row * conv.in, conv.in, Start<T>::zero());
                   }
                 });
  }
  if (args.dw) weight_gradient(args.x.as<T>(), dy, conv, args.dw.as<T>());
  if (args.dbias) sum_rows_blocked(dy, conv.rows(), conv.out, plan.partial, args.dbias.as<T>());
}

}  // namespace

template <>
void kernel(const CausalConvForward& args, Scratch& scratch) {
  for_floating<CausalConvForward>(args.x.dtype, [&]<class T>(T) { forward<T>(args, scratch); });
}

template <>
void kernel(const CausalConvBackward& args, Scratch& scratch) {
  for_floating<CausalConvBackward>(args.dy.dtype, [&]<class T>(T) { backward<T>(args, scratch); });
}

template void entry(const CausalConvForward&, ScratchMemory&);
template void entry(const CausalConvBackward&, ScratchMemory&);

}  // namespace refrain::kernels::cpu
