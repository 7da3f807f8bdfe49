#include "peterrec/evaluation.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace refrain::peterrec {
namespace {

constexpr std::int64_t batch_rows = 256;

/// Sum over rows of -log softmax(scores)[target].
double cross_entropy_sum(const Tensor& scores, const Tensor& targets) {
  const std::int64_t classes = scores.size(1);
  double sum = 0;
  for (std::int64_t b = 0; b < scores.size(0); ++b) {
    const float* row = scores.data<float>() + b * classes;
    const double largest = *std::max_element(row, row + classes);
    double total = 0;
    for (std::int64_t v = 0; v < classes; ++v) total += std::exp(row[v] - largest);
    sum += std::log(total) + largest - row[targets.data<std::int32_t>()[b]];
  }
  return sum;
}

}  // namespace

std::string Figures::text() const {
  if (kind == TaskKind::profile) return fmt::format("{}, cross-entropy {:.4f}", accuracy->text(), cross_entropy);
  return sampled->text() + "\n" + full->text();
}

Figures measure(const TaskData& task, const TransferExamples& examples, const SequenceForm& form, const Protocols& protocols,
                const Scorer& scorer) {
  Figures figures;
  figures.kind = task.kind;
  const RankingProtocol full{.kind = RankingProtocol::Kind::full,
                             .first = 0,
                             .items = task.targets.size(),
                             .negatives = protocols.negatives,
                             .seed = protocols.seed,
                             .without_seen = task.kind == TaskKind::next};
  RankingProtocol sampled = full;
  sampled.kind = RankingProtocol::Kind::sampled;
  sampled.negatives = std::min<std::int64_t>(protocols.negatives, task.targets.size() - 1);
  if (task.kind == TaskKind::profile) {
    figures.accuracy.emplace();
  } else {
    figures.full.emplace(full, std::vector<std::int64_t>{5, 10});
    figures.sampled.emplace(sampled, std::vector<std::int64_t>{5, 10});
  }
  std::vector<std::int64_t> chosen;
  for (std::int64_t begin = 0; begin < examples.size(); begin += batch_rows) {
    chosen.resize(static_cast<std::size_t>(std::min(batch_rows, examples.size() - begin)));
    std::iota(chosen.begin(), chosen.end(), begin);
    const TransferBatch batch = transfer_batch(task.sources, examples, chosen, form.length, form.placement);
    std::vector<std::int64_t> rows;
    std::vector<std::span<const std::int32_t>> seen;
    for (const std::int64_t example : chosen) {
      rows.push_back(examples.source[static_cast<std::size_t>(example)]);
      seen.push_back(task.seen[rows.back()]);
    }
    const Tensor scores = scorer(batch.ids, rows);
    if (task.kind == TaskKind::profile) {
      figures.accuracy->add(scores, batch.targets);
      figures.cross_entropy += cross_entropy_sum(scores, batch.targets);
    } else {
      figures.full->add(rank_rows(scores, batch.targets, full, begin, seen));
      figures.sampled->add(rank_rows(scores, batch.targets, sampled, begin, seen));
    }
  }
  if (examples.size() > 0) figures.cross_entropy /= static_cast<double>(examples.size());
  return figures;
}

Scorer scorer_of(const PatchSet& set, const NextItNet& base) {
  return [&set, &base](const Tensor& ids, std::span<const std::int64_t>) {
    const NoGrad off;
    return set.scores(set.user(base, ids));
  };
}

Scorer scorer_of(const TaskNetwork& network) { return scorer_of(network.task(), network.base()); }

Scorer popularity_scorer(const TaskData& task) {
  std::vector<float> counts(static_cast<std::size_t>(task.targets.size()));
  for (const std::int32_t target : task.train.target) counts[static_cast<std::size_t>(target)] += 1;
  // As log frequencies these are also the best constant logits, so that their cross-entropy means something.
  for (float& count : counts) count = std::log(count + 0.5f);
  return [counts](const Tensor& ids, std::span<const std::int64_t>) {
    const std::int64_t width = static_cast<std::int64_t>(counts.size());
    Tensor scores({ids.size(0), width}, DType::f32);
    for (std::int64_t b = 0; b < ids.size(0); ++b) std::copy(counts.begin(), counts.end(), scores.data<float>() + b * width);
    return scores;
  };
}

Scorer random_scorer(const TaskData& task, std::uint64_t seed) {
  return [width = std::int64_t{task.targets.size()}, random = Random(seed, 0x72616E64)](const Tensor& ids,
                                                                                        std::span<const std::int64_t>) mutable {
    Tensor scores({ids.size(0), width}, DType::f32);
    random.fill_uniform(scores, 0, 1);
    return scores;
  };
}

}  // namespace refrain::peterrec
