// The softmax loss of the heads of many tasks with its gradients, on the GPU. Device: f32, f64.
//   z[p,v] = hidden[p,:] . weight[k,v,:] + bias[k,v],  k = bank_rows[p],  v < V_k = classes[k]
//   losses[g] = w_k mean over p of  log Z[p] - (1 - s) z[p,target] - s / V_k sum_v z[p,v]
//   d[p,v] = w_k (exp(z[p,v]) / Z[p] - (1 - s) [v is the target] - s / V_k) / (rows of k)
//   dhidden[p,:] = sum_v d[p,v] weight[k,v,:],  dweight[g,v,:] = sum_p d[p,v] hidden[p,:]
//   dbias[g,v] = sum_p d[p,v]
// Shapes: hidden [P,C], weight [K,V,C], bias [K,V]; g: the rows in bank_rows that are not 0.
//
// Heads have few classes and few rows each, so no product fills a tile; a row reads its head from
// the second-level cache. One launch computes d in the memory of the scores [P,V] and dhidden, a
// warp per row; one sums dweight, a thread per 16 bytes of a head; one sums dbias
// (tiling/column_sums.cuh), one the losses. No atomics; the sums of a head are over its rows in
// order, so they are independent of the other heads. The grids depend only on the shapes.
// FLOPs: 6 P V C with gradients, 2 P V C without. Bound by latency and the second-level cache.

#include "kernels/kernel.hpp"
#include "kernels/loss/softmax_loss_of_bank.cuh"
#include "kernels/tiling/column_sums.cuh"
#include "refrain/kernels/loss.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {
namespace {

template <class T, int n>
void launch_heads(const BankHeads<T>& heads, const HeadRows<T>& rows, T* dweight,
                  std::int64_t used) {
  const char* const name = SoftmaxLossOfBank::name;
  simt::launch({.name = name,
                .grid = simt::blocks_for(heads.bank.sequences, head_warps),
                .block = head_warps * 32},
               head_rows<T, n>, heads, rows);
  if (dweight == nullptr) return;
  simt::launch(
      {.name = name,
       .grid = dim3(simt::blocks_for(heads.widest * heads.channels / n, head_weight_threads),
                    blocks_of_bank(used)),
       .block = head_weight_threads},
      head_weights<T, n>, heads, rows, dweight);
}

template <class T>
void compute(const SoftmaxLossOfBank& args, Scratch& scratch) {
  constexpr int pack = simt::Pack<T>::count;
  const std::int64_t count = args.hidden.shape[0];
  const std::int64_t used = args.losses.shape.numel();
  const BankHeads<T> heads{.weight = args.weight.as<T>(),
                           .bias = args.bias.as<T>(),
                           .classes = args.classes.as<std::int32_t>(),
                           .weights = args.weights.as<T>(),
                           .widest = args.bias.shape[1],
                           .channels = args.hidden.shape[1],
                           .bank = BankRows::of(args.bank_rows, count),
                           .smoothing = static_cast<T>(args.smoothing)};
  const HeadRows<T> rows{.hidden = args.hidden.as<T>(),
                         .targets = args.targets.as<std::int32_t>(),
                         .scores = scratch.take<T>(count * heads.widest),
                         .losses = scratch.take<double>(count),
                         .dhidden = args.dhidden.as<T>()};
  if (scratch.is_counting() || count == 0) return;
  T* const dweight = used > 0 ? args.dweight.as<T>() : nullptr;
  if (heads.channels % pack == 0 &&
      simt::aligned_16(rows.hidden, heads.weight, rows.dhidden, dweight)) {
    launch_heads<T, pack>(heads, rows, dweight, used);
  } else {
    launch_heads<T, 1>(heads, rows, dweight, used);
  }
  if (used == 0) return;
  if (args.dbias) {
    sum_columns_of_bank(SoftmaxLossOfBank::name,
                        MatrixTerms<T, 1>{.from = rows.scores, .stride = heads.widest, .apart = 0},
                        heads.bank, used, heads.widest,
                        {.to = {args.dbias.as<T>()}, .stride = heads.widest});
  }
  simt::launch({.name = SoftmaxLossOfBank::name, .grid = simt::blocks_for(used, 1), .block = 32},
               head_losses<T>, heads, static_cast<const double*>(rows.losses), args.losses.as<T>());
}

}  // namespace

template <>
void kernel(const SoftmaxLossOfBank& args, Scratch& scratch) {
  for_floating<SoftmaxLossOfBank>(args.hidden.dtype,
                                  [&]<class T>(T) { compute<T>(args, scratch); });
}

template void entry(const SoftmaxLossOfBank&, ScratchMemory&);

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
