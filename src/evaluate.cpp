#include "refrain/train/evaluate.hpp"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include "refrain/data/data_hash.hpp"
#include "refrain/distributed/agreement.hpp"
#include "src/ranks.hpp"

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

/// The communicator of several ranks; null for one.
Communicator* several(Communicator* communicator) {
  return communicator != nullptr && communicator->size() > 1 ? communicator : nullptr;
}

/// Runs work() on every rank; when it throws on any of them, every rank throws.
template <class Work>
void run_together(Communicator& communicator, const Work& work) {
  const std::string failures = failures_of(communicator, work);
  if (!failures.empty()) throw CommunicationError("evaluate: " + failures);
}

/// The values of all ranks in the order of the ranks.
template <class T>
std::vector<T> joined_values(Communicator& communicator, const std::vector<T>& own) {
  std::vector<T> all;
  for (const std::vector<std::byte>& bytes :
       gather_bytes(communicator, std::as_bytes(std::span(own)))) {
    all.resize(all.size() + bytes.size() / sizeof(T));
    std::ranges::copy(bytes, std::as_writable_bytes(std::span(all)).last(bytes.size()).begin());
  }
  return all;
}

/// Receives the ranks of one protocol.
using OnRankedRows = std::function<void(std::int64_t begin, std::span<const Rank> ranks)>;

/// One protocol, and the figures of the examples so far.
class Ranking {
 public:
  Ranking(const RankedExamples& examples, const EvaluateOptions& options, std::int64_t ids)
      : metrics(options.protocol(ids), options.cutoffs), examples_(examples), ids_(ids) {
    if (options.negatives > 0 && options.allow_fewer_negatives)
      metrics = RankingMetrics(limit_negatives(options, ids), options.cutoffs);
  }

  /// The ranks of the examples from `begin` on by their scores [B,ids]; `unranked` for an example
  /// that the protocol does not rank.
  std::vector<Rank> ranks(const Tensor& scores, std::int64_t begin) const {
    const std::int64_t rows = scores.size(0);
    const auto is_ranked = [&](std::int64_t row) {
      return open_.empty() || open_[at(begin + row)] > 0;
    };
    std::vector<Rank> all;
    for (std::int64_t first = 0, last = 0; first < rows; first = last) {
      for (last = first; last < rows && is_ranked(last); ++last) {
      }
      if (last == first) {
        all.push_back(unranked);
        ++last;
        continue;
      }
      const std::vector<Rank> some = ranks_of_rows(scores.slice(first, last), begin + first);
      all.insert(all.end(), some.begin(), some.end());
    }
    return all;
  }

  /// Adds the ranks of the examples from `begin` on.
  void add(std::span<const Rank> ranks, std::int64_t begin, const OnRankedRows& on_ranks) {
    for (std::size_t first = 0, last = 0; first < ranks.size(); first = last + 1) {
      for (last = first; last < ranks.size() && ranks[last] != unranked; ++last) {
      }
      if (last == first) continue;
      const std::span<const Rank> some = ranks.subspan(first, last - first);
      metrics.add(some);
      if (on_ranks) on_ranks(begin + static_cast<std::int64_t>(first), some);
    }
  }

  /// The number of scores of an example.
  std::int64_t ids() const noexcept { return ids_; }

  RankingMetrics metrics;

 private:
  static constexpr Rank unranked{.candidates = 0};

  std::vector<Rank> ranks_of_rows(const Tensor& scores, std::int64_t begin) const {
    const std::int64_t rows = scores.size(0);
    Tensor targets({rows}, DType::i32);
    std::vector<std::span<const std::int32_t>> seen;
    for (std::int64_t row = 0; row < rows; ++row) {
      targets.data<std::int32_t>()[row] = target(begin + row);
      if (leaves_out_seen()) seen.push_back(examples_.seen(begin + row));
    }
    return rank_rows(scores, targets, metrics.protocol(), begin, seen);
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
  std::int64_t ids_;
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
  std::vector<std::vector<Rank>> ranks(protocols.size());  // of the latest examples
  const auto make_rankings = [&](std::int64_t ids) {
    if (!rankings.empty()) return;
    for (const EvaluateOptions& options : protocols) rankings.emplace_back(examples, options, ids);
  };
  const auto rank_batch = [&](std::int64_t begin, std::int64_t end) {
    const Tensor scored = scores(begin, end);
    if (scored.rank() != 2 || scored.size(0) != end - begin) {
      throw ShapeError(detail::concat("evaluate: expected scores [", end - begin, ",ids], got ",
                                      scored.shape()));
    }
    make_rankings(scored.size(1));
    for (std::size_t protocol = 0; protocol < rankings.size(); ++protocol) {
      const std::vector<Rank> more = rankings[protocol].ranks(scored, begin);
      ranks[protocol].insert(ranks[protocol].end(), more.begin(), more.end());
    }
  };
  // Adds a batch, of which entry `first` of the ranks is the first example.
  const auto add_batch = [&](std::int64_t begin, std::int64_t end, std::int64_t first) {
    for (std::size_t protocol = 0; protocol < rankings.size(); ++protocol) {
      OnRankedRows of_protocol;
      if (on_ranks) {
        of_protocol = [&](std::int64_t from, std::span<const Rank> some) {
          on_ranks(static_cast<std::int64_t>(protocol), from, some);
        };
      }
      rankings[protocol].add(std::span(ranks[protocol]).subspan(at(first), at(end - begin)), begin,
                             of_protocol);
    }
  };
  const std::int64_t batch = protocols.front().batch;
  Communicator* const communicator = several(protocols.front().communicator);
  if (communicator == nullptr) {
    for_batches(count, batch, [&](std::int64_t begin, std::int64_t end) {
      rank_batch(begin, end);
      add_batch(begin, end, 0);
      for (std::vector<Rank>& each : ranks) each.clear();
    });
  } else {
    handshake(*communicator, {{"examples", detail::concat(count)},
                              {"targets", DataHash().add(examples.targets).text()},
                              {"protocols", detail::concat(protocols.size())},
                              {"batch", detail::concat(batch)}});
    run_together(*communicator, [&] { for_own_batches(count, batch, communicator, rank_batch); });
    const std::int64_t own = rankings.empty() ? 0 : rankings.front().ids();
    const std::vector<std::int64_t> ids = gather_values(*communicator, std::span(&own, 1));
    make_rankings(std::ranges::max(ids));  // a rank may have no batch
    for (std::vector<Rank>& each : ranks) each = joined_values(*communicator, each);
    for_batches(count, batch,
                [&](std::int64_t begin, std::int64_t end) { add_batch(begin, end, begin); });
  }
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

ExampleRange own_examples(std::int64_t count, std::int64_t size, const Communicator* communicator) {
  if (size < 1) throw OptionError(detail::concat("batch: expected at least 1, got ", size));
  if (communicator == nullptr) return {0, count};
  const std::int64_t batches = (count + size - 1) / size;
  const auto border = [&](std::int64_t rank) {
    return std::min(batches * rank / communicator->size() * size, count);
  };
  return {border(communicator->rank()), border(communicator->rank() + 1)};
}

double mean_loss(std::int64_t count, std::int64_t batch,
                 const std::function<SequenceBatch(std::int64_t begin, std::int64_t end)>& make,
                 const std::function<double(const SequenceBatch& batch)>& mean,
                 Communicator* communicator) {
  communicator = several(communicator);
  if (communicator != nullptr)
    handshake(*communicator, {{"rows", detail::concat(count)}, {"batch", detail::concat(batch)}});
  const ExampleRange own = own_examples(count, batch, communicator);
  std::vector<std::int64_t> targets;  // of each batch that has any
  std::vector<double> means;          // of the own ones, then of all
  const auto compute = [&] {
    for_batches(count, batch, [&](std::int64_t begin, std::int64_t end) {
      const SequenceBatch made = make(begin, end);
      const std::span<const std::int32_t> ids = std::as_const(made.targets).span<std::int32_t>();
      const std::int64_t real =
          std::count_if(ids.begin(), ids.end(), [](std::int32_t id) { return id != padding_id; });
      if (real == 0) return;
      targets.push_back(real);
      if (own.begin <= begin && begin < own.end) means.push_back(mean(made));
    });
  };
  if (communicator == nullptr) {
    compute();
  } else {
    run_together(*communicator, compute);
    means = joined_values(*communicator, means);
    if (means.size() != targets.size()) {
      throw CommunicationError(detail::concat("evaluate: expected the losses of ", targets.size(),
                                              " batches from all ranks, got ", means.size()));
    }
  }
  double sum = 0;
  std::int64_t counted = 0;
  for (std::size_t i = 0; i < means.size(); ++i) {
    sum += means[i] * static_cast<double>(targets[i]);
    counted += targets[i];
  }
  return counted == 0 ? 0 : sum / static_cast<double>(counted);
}

double held_out_loss(const std::function<double(const SequenceBatch& batch)>& mean,
                     const HeldOut& part, std::int64_t length, LossPositions positions,
                     std::int64_t batch, Communicator* communicator) {
  expect_sequences(part);
  const bool only_last = positions == LossPositions::last || !part.is_unseen;
  return mean_loss(
      part.rows.rows(), batch,
      [&](std::int64_t begin, std::int64_t end) {
        SequenceBatch made = next_item_batch(part.rows, numbers(begin, end), length + 1);
        if (only_last) made.targets = only_last_ids(made.targets);
        return made;
      },
      mean, communicator);
}

}  // namespace refrain
