#include "refrain/train/evaluate.hpp"

#include <numeric>

namespace refrain {
namespace {

std::vector<std::int64_t> numbers(std::int64_t begin, std::int64_t end) {
  std::vector<std::int64_t> rows(static_cast<std::size_t>(end - begin));
  std::iota(rows.begin(), rows.end(), begin);
  return rows;
}

void expect_sequences(const HeldOut& part) {
  if (part.rows.empty())
    throw OptionError("evaluation: expected a part with at least one sequence, got an empty one");
}

}  // namespace

RankingProtocol EvaluateOptions::protocol(std::int64_t ids) const {
  if (negatives < 0)
    throw OptionError(detail::concat("negatives: expected at least 0, got ", negatives));
  return {.kind = negatives > 0 ? RankingProtocol::Kind::sampled : RankingProtocol::Kind::full,
          .first = first_item,
          .items = static_cast<std::int32_t>(ids) - first_item,
          .negatives = negatives,
          .seed = seed,
          .without_seen = leave_out_seen};
}

namespace detail {

std::vector<RankingMetrics> rank_held_out(const ScoreIds& scores, const HeldOut& part,
                                          std::int64_t length,
                                          std::span<const EvaluateOptions> protocols) {
  expect_sequences(part);
  std::vector<RankingMetrics> metrics;
  for_batches(part.rows.rows(), protocols.front().batch, [&](std::int64_t begin, std::int64_t end) {
    const SequenceBatch batch = next_item_batch(part.rows, numbers(begin, end), length + 1);
    const Tensor scored = scores(batch.ids);
    if (scored.rank() != 2 || scored.size(0) != end - begin) {
      throw ShapeError(detail::concat("evaluate: expected scores [", end - begin, ",ids] of ids ",
                                      batch.ids.shape(), ", got ", scored.shape()));
    }
    if (metrics.empty()) {
      for (const EvaluateOptions& options : protocols)
        metrics.emplace_back(options.protocol(scored.size(1)), options.cutoffs);
    }
    const Tensor targets = last_ids(batch.targets);
    std::vector<std::span<const std::int32_t>> seen;
    for (std::int64_t row = begin; row < end; ++row) {
      const std::span<const std::int32_t> sequence = part.rows[row];
      seen.push_back(sequence.first(sequence.size() - 1));
    }
    for (RankingMetrics& each : metrics) {
      each.add(rank_rows(scored, targets, each.protocol(), begin,
                         each.protocol().without_seen ? seen : decltype(seen)()));
    }
  });
  return metrics;
}

}  // namespace detail

double held_out_loss(const std::function<double(const SequenceBatch& batch)>& mean,
                     const HeldOut& part, std::int64_t length, LossPositions positions,
                     std::int64_t batch) {
  expect_sequences(part);
  const bool only_last = positions == LossPositions::last || !part.is_unseen;
  double sum = 0;
  std::int64_t counted = 0;
  for_batches(part.rows.rows(), batch, [&](std::int64_t begin, std::int64_t end) {
    SequenceBatch made = next_item_batch(part.rows, numbers(begin, end), length + 1);
    if (only_last) made.targets = only_last_ids(made.targets);
    const std::span<const std::int32_t> targets = std::as_const(made.targets).span<std::int32_t>();
    const std::int64_t real = std::count_if(targets.begin(), targets.end(),
                                            [](std::int32_t id) { return id != padding_id; });
    if (real == 0) return;
    sum += mean(made) * static_cast<double>(real);
    counted += real;
  });
  return counted == 0 ? 0 : sum / static_cast<double>(counted);
}

}  // namespace refrain
