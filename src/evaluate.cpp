#include "refrain/train/evaluate.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

namespace refrain {
namespace {

std::vector<std::int64_t> numbers(std::int64_t begin, std::int64_t end) {
  std::vector<std::int64_t> rows(static_cast<std::size_t>(end - begin));
  std::iota(rows.begin(), rows.end(), begin);
  return rows;
}

void expect_sequences(const HeldOut& part) {
  if (part.rows.empty())
    throw OptionError("evaluate: expected a part with at least one sequence, got an empty one");
}

/// Receives the ranks of one protocol.
using OnRankedRows = std::function<void(std::int64_t begin, std::span<const Rank> ranks)>;

/// One protocol, and the figures of the examples so far.
class Ranking {
 public:
  Ranking(const RankedExamples& examples, const EvaluateOptions& options, std::int64_t ids)
      : metrics(options.protocol(ids), options.cutoffs), examples_(examples) {
    if (options.negatives > 0 && options.allow_fewer_negatives)
      metrics = RankingMetrics(limit_negatives(options, ids), options.cutoffs);
  }

  /// Ranks the examples from `begin` on by their scores [B,ids].
  void add(const Tensor& scores, std::int64_t begin, const OnRankedRows& on_ranks) {
    const std::int64_t rows = scores.size(0);
    const auto is_ranked = [&](std::int64_t row) {
      return open_.empty() || open_[static_cast<std::size_t>(begin + row)] > 0;
    };
    for (std::int64_t first = 0, last = 0; first < rows; first = last + 1) {
      for (last = first; last < rows && is_ranked(last); ++last) {
      }
      if (last > first) add_rows(scores.slice(first, last), begin + first, on_ranks);
    }
  }

  RankingMetrics metrics;

 private:
  void add_rows(const Tensor& scores, std::int64_t begin, const OnRankedRows& on_ranks) {
    const std::int64_t rows = scores.size(0);
    Tensor targets({rows}, DType::i32);
    std::vector<std::span<const std::int32_t>> seen;
    for (std::int64_t row = 0; row < rows; ++row) {
      targets.data<std::int32_t>()[row] = target(begin + row);
      if (leaves_out_seen()) seen.push_back(examples_.seen(begin + row));
    }
    const std::vector<Rank> ranks = rank_rows(scores, targets, metrics.protocol(), begin, seen);
    metrics.add(ranks);
    if (on_ranks) on_ranks(begin, ranks);
  }

  /// Counts the candidate negatives of each example: all items except its target and the seen ones.
  /// Returns the protocol with the smallest of these counts if the options have more negatives.
  RankingProtocol limit_negatives(const EvaluateOptions& options, std::int64_t ids) {
    RankingProtocol protocol = options.protocol(ids);
    std::vector<std::int64_t> left_out_by(static_cast<std::size_t>(ids), -1);  // the last example
    for (std::int64_t example = 0; example < static_cast<std::int64_t>(examples_.targets.size());
         ++example) {
      std::int64_t open = protocol.items;
      const auto leave_out = [&](std::int32_t id) {
        if (id < protocol.first || id >= ids) return;
        if (std::exchange(left_out_by[static_cast<std::size_t>(id)], example) != example) --open;
      };
      leave_out(target(example));
      if (leaves_out_seen()) {
        for (const std::int32_t id : examples_.seen(example)) leave_out(id);
      }
      open_.push_back(open);
      if (open > 0) protocol.negatives = std::min(protocol.negatives, open);
    }
    return protocol;
  }

  std::int32_t target(std::int64_t example) const {
    return examples_.targets[static_cast<std::size_t>(example)];
  }
  bool leaves_out_seen() const { return metrics.protocol().without_seen; }

  const RankedExamples& examples_;
  std::vector<std::int64_t> open_;  ///< items to draw from, by example; empty: enough for each
};

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

std::vector<RankingMetrics> rank_examples(const ScoreExamples& scores,
                                          const RankedExamples& examples,
                                          std::span<const EvaluateOptions> protocols,
                                          const OnRanks& on_ranks) {
  const std::int64_t count = static_cast<std::int64_t>(examples.targets.size());
  if (protocols.empty()) throw OptionError("evaluate: expected at least one protocol, got none");
  if (count == 0) throw OptionError("evaluate: expected at least one example, got none");
  if (!examples.seen && std::any_of(protocols.begin(), protocols.end(),
                                    [](const EvaluateOptions& one) { return one.leave_out_seen; }))
    throw OptionError("leave_out_seen: expected examples with seen items, got none");
  std::vector<Ranking> rankings;
  for_batches(count, protocols.front().batch, [&](std::int64_t begin, std::int64_t end) {
    const Tensor scored = scores(begin, end);
    if (scored.rank() != 2 || scored.size(0) != end - begin) {
      throw ShapeError(detail::concat("evaluate: expected scores [", end - begin, ",ids], got ",
                                      scored.shape()));
    }
    if (rankings.empty()) {
      for (const EvaluateOptions& options : protocols)
        rankings.emplace_back(examples, options, scored.size(1));
    }
    for (std::size_t protocol = 0; protocol < rankings.size(); ++protocol) {
      OnRankedRows of_protocol;
      if (on_ranks) {
        of_protocol = [&](std::int64_t first, std::span<const Rank> ranks) {
          on_ranks(static_cast<std::int64_t>(protocol), first, ranks);
        };
      }
      rankings[protocol].add(scored, begin, of_protocol);
    }
  });
  std::vector<RankingMetrics> metrics;
  for (Ranking& each : rankings) metrics.push_back(std::move(each.metrics));
  return metrics;
}

namespace detail {

std::vector<RankingMetrics> rank_held_out(const ScoreIds& scores, const HeldOut& part,
                                          std::int64_t length,
                                          std::span<const EvaluateOptions> protocols,
                                          const OnRanks& on_ranks) {
  expect_sequences(part);
  std::vector<std::int32_t> targets;
  for (std::int64_t row = 0; row < part.rows.rows(); ++row) {
    if (part.rows[row].empty())
      throw OptionError(detail::concat(
          "evaluate: expected at least one item in each sequence, got none in row ", row));
    targets.push_back(part.rows[row].back());
  }
  return rank_examples(
      [&](std::int64_t begin, std::int64_t end) {
        return scores(next_item_batch(part.rows, numbers(begin, end), length + 1).ids);
      },
      {.targets = targets,
       .seen =
           [&](std::int64_t row) {
             const std::span<const std::int32_t> sequence = part.rows[row];
             return sequence.first(sequence.size() - 1);
           }},
      protocols, on_ranks);
}

}  // namespace detail

double mean_loss(std::int64_t count, std::int64_t batch,
                 const std::function<SequenceBatch(std::int64_t begin, std::int64_t end)>& make,
                 const std::function<double(const SequenceBatch& batch)>& mean) {
  double sum = 0;
  std::int64_t counted = 0;
  for_batches(count, batch, [&](std::int64_t begin, std::int64_t end) {
    const SequenceBatch made = make(begin, end);
    const std::span<const std::int32_t> targets = std::as_const(made.targets).span<std::int32_t>();
    const std::int64_t real = std::count_if(targets.begin(), targets.end(),
                                            [](std::int32_t id) { return id != padding_id; });
    if (real == 0) return;
    sum += mean(made) * static_cast<double>(real);
    counted += real;
  });
  return counted == 0 ? 0 : sum / static_cast<double>(counted);
}

double held_out_loss(const std::function<double(const SequenceBatch& batch)>& mean,
                     const HeldOut& part, std::int64_t length, LossPositions positions,
                     std::int64_t batch) {
  expect_sequences(part);
  const bool only_last = positions == LossPositions::last || !part.is_unseen;
  return mean_loss(
      part.rows.rows(), batch,
      [&](std::int64_t begin, std::int64_t end) {
        SequenceBatch made = next_item_batch(part.rows, numbers(begin, end), length + 1);
        if (only_last) made.targets = only_last_ids(made.targets);
        return made;
      },
      mean);
}

}  // namespace refrain
