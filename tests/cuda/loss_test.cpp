/// Losses with their gradients.

#include "refrain/kernels/loss.hpp"
#include "cuda/arena.hpp"

using namespace refrain;

CUDA_ENTRY(SoftmaxLoss) {
  const std::int64_t rows = arena.size(200), items = arena.size(700), width = arena.size(130);
  return {.hidden = arena.normal({rows, width}),
          .weight = arena.normal({items, width}, 1 / std::sqrt(static_cast<double>(width))),
          .bias = arena.coin() ? arena.normal({items}) : View(),
          .targets = arena.ids({rows}, items),
          .loss = arena.output("loss", {}),
          .dhidden = arena.maybe_output("dhidden", {rows, width}),
          .dweight = arena.maybe_output("dweight", {items, width}),
          .dbias = arena.maybe_output("dbias", {items}),
          .ignored = arena.coin() ? arena.below(items) : -1,
          .relu = arena.coin(),
          .smoothing = arena.coin() ? 0.1 : 0};
}

CUDA_ENTRY(SampledSoftmaxLoss) {
  const std::int64_t rows = arena.size(150), items = arena.size(500), samples = arena.size(150),
                     width = arena.size(130);
  const bool corrected = arena.coin();
  return {.hidden = arena.normal({rows, width}),
          .weight = arena.normal({items, width}, 1 / std::sqrt(static_cast<double>(width))),
          .bias = arena.coin() ? arena.normal({items}) : View(),
          .targets = arena.ids({rows}, items),
          .negatives = arena.ids({samples}, items),
          .log_q_true = corrected ? arena.normal({rows}) : View(),
          .log_q_negative = corrected ? arena.normal({samples}) : View(),
          .loss = arena.output("loss", {}),
          .dhidden = arena.maybe_output("dhidden", {rows, width}),
          .dweight_rows = arena.maybe_output("dweight_rows", {samples + rows, width}),
          .dbias_rows = arena.maybe_output("dbias_rows", {samples + rows}),
          .ignored = arena.coin() ? arena.below(items) : -1,
          .remove_hits = arena.coin()};
}

CUDA_ENTRY(PairLoss) {
  const std::int64_t batch = arena.size(300), items = arena.size(200), width = arena.size(130);
  return {.user = arena.normal({batch, width}, 1 / std::sqrt(static_cast<double>(width))),
          .table = arena.normal({items, width}),
          .positives = arena.ids({batch}, items),
          .negatives = arena.ids({batch}, items),
          .loss = arena.output("loss", {}),
          .duser = arena.maybe_output("duser", {batch, width}),
          .dtable_rows = arena.maybe_output("dtable_rows", {2 * batch, width}),
          .kind = arena.one_of({kernels::PairLossKind::bpr, kernels::PairLossKind::logistic})};
}
