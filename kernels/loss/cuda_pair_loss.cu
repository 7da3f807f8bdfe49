// Losses of one positive against one negative item, with their gradients, on the GPU. Device: f32,
// f64.
//   p = user . table[positive],  n = user . table[negative]
//   bpr       loss = softplus(n - p)              dp = -sigmoid(n - p)    dn = sigmoid(n - p)
//   logistic  loss = softplus(-p) + softplus(n)   dp = -sigmoid(-p)       dn = sigmoid(n)
//   duser = (dp positive + dn negative) / B,  dpositive = dp user / B,  dnegative = dn user / B
// Shapes: user, duser [B,C]; table [V,C]; positives, negatives [B]; dtable_rows [2B,C].
//
// A warp per row, 16 bytes per lane at a time where C and all addresses are multiples of 16 bytes;
// eight rows per block. Scores are summed in T, and their functions are computed in double, once
// per row. A second launch adds the losses of the blocks in an order that depends only on B. Memory
// traffic: 6 B C elements. Bound by memory bandwidth.

#include "kernels/kernel.hpp"
#include "kernels/loss/pair_loss.cuh"
#include "kernels/pointwise/kernels.cuh"
#include "refrain/kernels/loss.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {
namespace {

template <class T>
void compute(const PairLoss& args, Scratch& scratch) {
  constexpr int n = simt::Pack<T>::count;
  const std::int64_t rows = args.user.shape[0];
  const std::int64_t width = args.user.shape[1];
  const std::int64_t blocks = (rows + pair_warps - 1) / pair_warps;
  double* const losses = scratch.take<double>(blocks);
  if (scratch.is_counting()) return;
  if (blocks > 0) {
    const PairTensors<T> tensors{.user = args.user.as<T>(),
                                 .table = args.table.as<T>(),
                                 .positives = args.positives.as<std::int32_t>(),
                                 .negatives = args.negatives.as<std::int32_t>(),
                                 .duser = args.duser.as<T>(),
                                 .dtable_rows = args.dtable_rows.as<T>()};
    const simt::Launch how{
        .name = PairLoss::name, .grid = simt::blocks_for(blocks, 1), .block = pair_warps * 32};
    if (width % n == 0 &&
        simt::aligned_16(tensors.user, tensors.table, tensors.duser, tensors.dtable_rows)) {
      simt::launch(how, pair_rows<n, T>, tensors, rows, width, args.kind, losses);
    } else {
      simt::launch(how, pair_rows<1, T>, tensors, rows, width, args.kind, losses);
    }
  }
  const simt::Launch how{.name = PairLoss::name, .grid = 1, .block = dot_total_threads};
  simt::launch(how, dot_total<T>, blocks, losses, args.loss.as<T>());
}

}  // namespace

template <>
void kernel(const PairLoss& args, Scratch& scratch) {
  for_floating<PairLoss>(args.user.dtype, [&]<class T>(T) { compute<T>(args, scratch); });
}

template void entry(const PairLoss&, ScratchMemory&);

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
