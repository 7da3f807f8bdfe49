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

CUDA_ENTRY(SoftmaxLossOfBank) {
  const std::int64_t rows = arena.size(200), width = arena.size(130), widest = arena.size(60);
  const std::int64_t heads = 2 + arena.below(6);
  std::vector<std::int64_t> of_bank, classes{0}, targets;
  for (std::int64_t head = 1; head < heads; ++head) classes.push_back(arena.below(widest + 1));
  for (std::int64_t row = 0; row < rows; ++row) of_bank.push_back(arena.below(heads));
  std::sort(of_bank.begin(), of_bank.end());
  of_bank.back() = heads - 1;  // one head at least
  std::int64_t used = 0, before = 0;
  for (const std::int64_t row : of_bank) {
    const std::int64_t count = classes[static_cast<std::size_t>(row)];
    targets.push_back(arena.below(std::max<std::int64_t>(1, count)));
    used += row != before ? 1 : 0;
    before = row;
  }
  return {.hidden = arena.normal({rows, width}),
          .weight = arena.normal({heads, widest, width}, 1 / std::sqrt(static_cast<double>(width))),
          .bias = arena.normal({heads, widest}),
          .classes = arena.ids_from(classes),
          .bank_rows = arena.ids_from(of_bank),
          .targets = arena.ids_from(targets),
          .weights = arena.coin() ? arena.uniform({heads}, 0.1, 2) : View(),
          .losses = arena.output("losses", {used}),
          .dhidden = arena.maybe_output("dhidden", {rows, width}),
          .dweight = arena.maybe_output("dweight", {used, widest, width}),
          .dbias = arena.maybe_output("dbias", {used, widest}),
          .smoothing = arena.coin() ? 0.1 : 0};
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
