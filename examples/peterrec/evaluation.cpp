#include "peterrec/evaluation.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "refrain/core/parallel.hpp"

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

/// Ranks a batch by the sampled protocol, without the examples that have nothing to be ranked
/// among.
void add_sampled(RankingMetrics& metrics, const Rankings& ranked, const Tensor& scores,
                 const Tensor& targets, std::int64_t begin,
                 std::span<const std::span<const std::int32_t>> seen) {
  const std::span<const std::int32_t> positives = targets.span<std::int32_t>();
  const std::span<const float> values = scores.span<float>();
  const std::size_t width = static_cast<std::size_t>(scores.size(1));
  std::vector<Rank> ranks(positives.size());
  parallel_for(scores.size(0), 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = first; row < last; ++row) {
      const std::size_t b = static_cast<std::size_t>(row);
      if (ranked.open[static_cast<std::size_t>(begin + row)] == 0) continue;
      ranks[b] = rank_of(values.subspan(b * width, width), positives[b], ranked.sampled, seen[b],
                         begin + row);
    }
  });
  for (std::size_t b = 0; b < ranks.size(); ++b) {
    if (ranked.open[static_cast<std::size_t>(begin) + b] > 0) metrics.add(ranks[b]);
  }
}

}  // namespace

std::string Figures::text() const {
  if (kind == TaskKind::profile)
    return fmt::format("{}, cross-entropy {:.4f}", accuracy->text(), cross_entropy);
  return sampled->text() + (note.empty() ? "" : "\n  " + note) + "\n" + full->text();
}

Rankings rankings(const TaskData& task, const TransferExamples& examples,
                  const Protocols& protocols) {
  const std::int32_t items = task.targets.size();
  Rankings made;
  made.full = {.kind = RankingProtocol::Kind::full,
               .first = 0,
               .items = items,
               .negatives = protocols.negatives,
               .seed = protocols.seed,
               .without_seen = task.kind == TaskKind::next};
  made.sampled = made.full;
  made.sampled.kind = RankingProtocol::Kind::sampled;
  std::int64_t without = 0;
  std::vector<std::int64_t> barred_by(static_cast<std::size_t>(items),
                                      -1);  // the last example that bars an item
  for (std::int64_t example = 0; example < examples.size(); ++example) {
    const std::size_t at = static_cast<std::size_t>(example);
    std::int64_t open = items;
    const auto bar = [&](std::int32_t item) {
      if (std::exchange(barred_by[static_cast<std::size_t>(item)], example) != example) --open;
    };
    bar(examples.target[at]);
    for (const std::int32_t item : task.seen[examples.source[at]]) bar(item);
    made.open.push_back(open);
    if (open == 0) ++without;
    if (open > 0) made.sampled.negatives = std::min(made.sampled.negatives, open);
  }
  if (made.sampled.negatives < protocols.negatives) {
    made.note =
        fmt::format("{} negatives were asked for; an example has only {} items besides its own{}",
                    protocols.negatives, made.sampled.negatives,
                    made.full.without_seen ? " and the seen ones" : "");
  }
  if (without > 0) {
    made.note += fmt::format("{}{} examples have none and are not ranked by the sampled protocol",
                             made.note.empty() ? "" : "; ", without);
  }
  return made;
}

Figures measure(const TaskData& task, const TransferExamples& examples, const SequenceForm& form,
                const Protocols& protocols, const Scorer& scorer) {
  Figures figures;
  figures.kind = task.kind;
  Rankings ranked;
  if (task.kind == TaskKind::profile) {
    figures.accuracy.emplace();
  } else {
    ranked = rankings(task, examples, protocols);
    figures.full.emplace(ranked.full, std::vector<std::int64_t>{5, 10});
    figures.sampled.emplace(ranked.sampled, std::vector<std::int64_t>{5, 10});
    figures.note = ranked.note;
  }
  std::vector<std::int64_t> chosen;
  for (std::int64_t begin = 0; begin < examples.size(); begin += batch_rows) {
    chosen.resize(static_cast<std::size_t>(std::min(batch_rows, examples.size() - begin)));
    std::iota(chosen.begin(), chosen.end(), begin);
    const TransferBatch batch =
        transfer_batch(task.sources, examples, chosen, form.length, form.placement);
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
      figures.full->add(rank_rows(scores, batch.targets, ranked.full, begin, seen));
      add_sampled(*figures.sampled, ranked, scores, batch.targets, begin, seen);
    }
  }
  if (examples.size() > 0) figures.cross_entropy /= static_cast<double>(examples.size());
  return figures;
}

Scorer scorer_of(const PatchSet& set, const NextItNet& base) {
  return [&set, &base](const Tensor& ids, std::span<const std::int64_t>) {
    return base.with(set).scores(ids.to(base.device())).to(Device::cpu);
  };
}

Scorer scorer_of(const TaskNetwork& network) { return scorer_of(network.task(), network.base()); }

Scorer base_scorer(const NextItNet& base, const TaskData& task) {
  // Batches of a task end with [TCL]; the base reads the items alone. Its scores start with the
  // special ids, the task's targets do not.
  return [&base, &task](const Tensor& ids, std::span<const std::int64_t> rows) {
    const NoGrad off;
    const Tensor all =
        base.scores(padded_batch(task.sources, rows, ids.size(1) - 1).to(base.device()))
            .to(Device::cpu);
    Tensor scores({all.size(0), all.size(1) - special_ids}, DType::f32);
    for (std::int64_t b = 0; b < all.size(0); ++b) {
      std::copy_n(all.data<float>() + b * all.size(1) + special_ids, scores.size(1),
                  scores.data<float>() + b * scores.size(1));
    }
    return scores;
  };
}

Scorer popularity_scorer(const TaskData& task) {
  std::vector<float> counts(static_cast<std::size_t>(task.targets.size()));
  for (const std::int32_t target : task.train.target) counts[static_cast<std::size_t>(target)] += 1;
  // As log frequencies these are also the best constant logits, so that their cross-entropy means
  // something.
  for (float& count : counts) count = std::log(count + 0.5f);
  return [counts](const Tensor& ids, std::span<const std::int64_t>) {
    const std::int64_t width = static_cast<std::int64_t>(counts.size());
    Tensor scores({ids.size(0), width}, DType::f32);
    for (std::int64_t b = 0; b < ids.size(0); ++b)
      std::copy(counts.begin(), counts.end(), scores.data<float>() + b * width);
    return scores;
  };
}

Scorer random_scorer(const TaskData& task, std::uint64_t seed) {
  return [width = std::int64_t{task.targets.size()}, random = Random(seed, 0x72616E64)](
             const Tensor& ids, std::span<const std::int64_t>) mutable {
    Tensor scores({ids.size(0), width}, DType::f32);
    random.fill_uniform(scores, 0, 1);
    return scores;
  };
}

}  // namespace refrain::peterrec
