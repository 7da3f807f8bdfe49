#include "peterrec/evaluation.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "refrain/core/text.hpp"
#include "refrain/distributed/agreement.hpp"
#include "refrain/train/cooccurrence.hpp"
#include "refrain/train/evaluate.hpp"
#include "refrain/train/naive_bayes.hpp"
#include "refrain/train/ngram.hpp"
#include "refrain/train/popularity.hpp"

namespace refrain::peterrec {
namespace {

/// The scores without those of the special ids, which are no targets of the next-item task.
Tensor without_specials(const Tensor& all) {
  Tensor scores({all.size(0), all.size(1) - special_ids}, DType::f32);
  for (std::int64_t b = 0; b < all.size(0); ++b) {
    std::copy_n(all.data<float>() + b * all.size(1) + special_ids, scores.size(1),
                scores.data<float>() + b * scores.size(1));
  }
  return scores;
}

/// A baseline of the library.
template <class Baseline>
Reference baseline(const TaskData& task, const char* title, Baseline baseline, bool has_specials) {
  const auto model = std::make_shared<const Baseline>(std::move(baseline));
  return {title, [&task, model, has_specials](std::span<const std::int64_t> rows) {
            const Tensor scores = model->scores(padded_batch(task.sources, rows, task.length));
            return has_specials ? without_specials(scores) : scores;
          }};
}

/// The scores of all examples [examples,targets], of which each process computes its share.
Tensor scores_together(std::int64_t examples, std::int64_t targets, std::int64_t batch,
                       const ScoreExamples& score, Communicator* ranks) {
  const ExampleRange own = own_examples(examples, batch, ranks);
  Tensor scores({own.end - own.begin, targets}, DType::f32);
  for_own_batches(examples, batch, ranks, [&](std::int64_t begin, std::int64_t end) {
    scores.slice(begin - own.begin, end - own.begin).copy_from(score(begin, end));
  });
  if (ranks == nullptr) return scores;
  return gather_rows(*ranks, Tensor::zeros({scores.size(0)}, DType::i32), scores).values;
}

/// The histories of the training part, and the targets of each.
std::pair<RaggedIds, RaggedIds> training_rows(const TaskData& task) {
  std::pair<RaggedIds, RaggedIds> rows;
  const TransferExamples& training = task.training;
  for (std::size_t e = 0; e < training.source.size();) {
    const std::int64_t row = training.source[e];
    const std::span<const std::int32_t> history = task.sources[row];
    rows.first.push_back(
        history.last(std::min(history.size(), static_cast<std::size_t>(task.length))));
    for (; e < training.source.size() && training.source[e] == row; ++e)
      rows.second.add(training.target[e]);
    rows.second.end_row();
  }
  return rows;
}

}  // namespace

Scorer scorer_of(const TaskData& task, const NextItNet& base, const PatchSet& set) {
  return [&task, &base, &set](std::span<const std::int64_t> rows) {
    const Tensor ids = tcl_batch(task.sources, rows, task.length, placement_of(base));
    return base.with(set).scores(ids.to(base.device())).to(Device::cpu);
  };
}

Scorer base_scorer(const TaskData& task, const NextItNet& base) {
  return [&task, &base](std::span<const std::int64_t> rows) {
    const Tensor ids = padded_batch(task.sources, rows, task.length);
    const Tensor all = base.scores(ids.to(base.device())).to(Device::cpu);
    return without_specials(all);
  };
}

Reference popularity(const TaskData& task) {
  return {task.is_profile() ? "label frequency" : "most popular",
          [row = log_frequencies(task.training.target, task.targets.size())](
              std::span<const std::int64_t> rows) { return repeat_row(row, std::ssize(rows)); }};
}

Reference random_scores(const TaskData& task, std::uint64_t seed) {
  return {"random", [width = std::int64_t{task.targets.size()}, random = Random(seed, 0x72616E64)](
                        std::span<const std::int64_t> rows) mutable {
            Tensor scores({static_cast<std::int64_t>(rows.size()), width}, DType::f32);
            random.fill_uniform(scores, 0, 1);
            return scores;
          }};
}

std::vector<Reference> baselines(const TaskData& task, std::int64_t ids) {
  if (task.is_profile()) {
    return {
        baseline(task, "naive Bayes",
                 NaiveBayes(task.sources, task.training,
                            {.ids = ids, .classes = task.targets.size(), .length = task.length}),
                 false)};
  }
  const CooccurrenceOptions together{.ids = ids, .length = task.length};
  if (task.kind == TaskKind::items) {
    const auto [sources, targets] = training_rows(task);
    return {baseline(task, "co-occurrence",
                     Cooccurrence(sources, targets, task.targets.size(), together), false)};
  }
  // The history of a validation example is everything that training may read of its user.
  RaggedIds sequences;
  for (const std::int64_t row : task.validation.source) sequences.push_back(task.sources[row]);
  return {baseline(task, "n-gram", NGram(sequences, {.ids = ids}), true),
          baseline(task, "co-occurrence", Cooccurrence(sequences, together), true)};
}

std::vector<Reference> references(const TaskData& task, const NextItNet& base) {
  std::vector<Reference> list;
  if (task.kind == TaskKind::next && base.is_causal())
    list.push_back({own_head, base_scorer(task, base)});
  list.push_back(popularity(task));
  for (Reference& each : baselines(task, base.options().items)) list.push_back(std::move(each));
  return list;
}

double Figures::validation() const {
  return rankings.empty() ? cross_entropy.value() : rankings[1].mrr(5);
}

std::vector<Figure> Figures::list() const {
  if (rankings.empty()) {
    return {{"accuracy", "accuracy", accuracy.value()},
            {"cross-entropy", "cross_entropy", cross_entropy.value(), false}};
  }
  return {{"HR@5 full", "hr5_full", rankings[0].hr(5)},
          {"MRR@5 full", "mrr5_full", rankings[0].mrr(5)},
          {"HR@5 sampled", "hr5_sampled", rankings[1].hr(5)},
          {"MRR@5 sampled", "mrr5_sampled", rankings[1].mrr(5)}};
}

std::string Figures::text(const std::string& label) const {
  if (rankings.empty()) {
    return fmt::format("{}{}{}, cross-entropy {:.4f}", label, label.empty() ? "" : ": ",
                       accuracy.text(), cross_entropy.value());
  }
  const std::string start = label.empty() ? "" : label + ", ", different = note();
  return fmt::format("{0}full: {1}\n{0}sampled: {2}{3}", start, rankings[0].text(),
                     rankings[1].text(), different.empty() ? "" : "\n  " + different);
}

std::string Figures::protocols() const {
  if (rankings.empty())
    return "share of users whose class is predicted correctly; cross-entropy in nats";
  return rankings[0].protocol().text() + "; " + rankings[1].protocol().text();
}

std::string Figures::note() const {
  if (rankings.empty()) return {};
  const RankingMetrics& sampled = rankings[1];
  const RankingProtocol& protocol = sampled.protocol();
  std::string text;
  if (protocol.negatives < negatives) {
    text = fmt::format(
        "{} negatives were requested, but an example has only {} items besides its target{}",
        negatives, protocol.negatives, protocol.without_seen ? " and the seen items" : "");
  }
  if (const std::int64_t without = rankings[0].count() - sampled.count(); without > 0) {
    text += fmt::format("{}{} without negatives, not ranked by the sampled protocol",
                        text.empty() ? "" : "; ", counted(without, "example"));
  }
  return text;
}

Figures measure(const TaskData& task, const TransferExamples& examples, const Protocols& protocols,
                const Scorer& scorer, const OnRanks& on_ranks, Communicator* ranks) {
  constexpr std::int64_t batch = 256;
  const auto score = [&](std::int64_t begin, std::int64_t end) {
    return scorer(
        std::span(examples.source)
            .subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin)));
  };
  Figures figures{.negatives = protocols.negatives};
  if (task.is_profile()) {
    const Tensor classes = Tensor::from<std::int32_t>({examples.size()}, examples.target);
    const Tensor all_scores =
        scores_together(examples.size(), task.targets.size(), batch, score, ranks);
    for_batches(examples.size(), batch, [&](std::int64_t begin, std::int64_t end) {
      const Tensor scores = all_scores.slice(begin, end);
      figures.accuracy.add(scores, classes.slice(begin, end));
      figures.cross_entropy.add(scores, classes.slice(begin, end));
      if (!on_ranks) return;
      const RankingProtocol all{.first = 0, .items = static_cast<std::int32_t>(scores.size(1))};
      on_ranks(0, begin, rank_rows(scores, classes.slice(begin, end), all));
    });
    return figures;
  }
  refrain::EvaluateOptions full{.leave_out_seen = task.kind == TaskKind::next,
                                .allow_fewer_negatives = true,
                                .seed = protocols.seed,
                                .batch = batch,
                                .first_item = 0,
                                .communicator = ranks};
  refrain::EvaluateOptions sampled = full;
  sampled.negatives = protocols.negatives;
  const refrain::EvaluateOptions both[] = {full, sampled};
  figures.rankings = rank_examples(
      score,
      {.targets = examples.target,
       .seen =
           [&](std::int64_t i) { return task.seen[examples.source[static_cast<std::size_t>(i)]]; }},
      both, on_ranks);
  return figures;
}

Figures measure_test(const TaskData& task, const Options& options, const Reference& measured,
                     std::uint64_t seed, examples::RanksFile& ranks) {
  Figures figures = measure(task, task.test, options.protocols(), measured.scorer, ranks.collect(),
                            options.run.processes->ranks());
  std::vector<std::string> protocols;
  for (const RankingMetrics& each : figures.rankings) protocols.push_back(each.protocol().text());
  if (task.is_profile()) protocols.push_back(fmt::format("full, {} classes", task.targets.size()));
  ranks.write({.task = task.name, .method = measured.title, .seed = seed}, protocols,
              task.test_users);
  return figures;
}

}  // namespace refrain::peterrec
