// The largest scores, and the ranks of targets, over items that are sharded over ranks.

#include <cmath>
#include <numeric>
#include <utility>

#include "refrain/core/parallel.hpp"
#include "refrain/kernels/top_k.hpp"
#include "src/sharded_scores.hpp"

namespace refrain {
namespace {

/// The hidden vectors of all ranks.
struct AllHidden {
  std::vector<std::int64_t> rows;  ///< of each rank
  Tensor hidden;                   ///< [M,C]
};

/// Rows of one shard from an id on.
struct ShardPart {
  std::int64_t number;
  std::int64_t begin;  ///< number of the first row in the shard
  Tensor weight;       ///< [n,C], n > 0
  Tensor bias;

  std::int64_t id_of(std::int64_t row) const { return RowShards::row_of(number, begin + row); }
};

std::vector<ShardPart> parts_from(ShardedItems& items, std::int64_t first) {
  std::vector<ShardPart> parts;
  for (const ShardedItems::Shard& shard : items.own()) {
    const std::int64_t begin = RowShards::rows_before(shard.number, first);
    const std::int64_t end = shard.weight.size(0);
    if (begin == end) continue;
    parts.push_back({.number = shard.number,
                     .begin = begin,
                     .weight = shard.weight.value().slice(begin, end),
                     .bias = shard.bias.value().slice(begin, end)});
  }
  return parts;
}

void check_arguments(const char* op, const Tensor& hidden, const ShardedItems& items,
                     std::int64_t first) {
  detail::check_rank(op, "hidden", hidden, 2);
  check_hidden(op, hidden, items);
  if (first < 0 || first >= items.count()) {
    throw OptionError(
        detail::concat(op, ": expected a first id in [0, ", items.count(), "), got ", first));
  }
}

template <class T>
struct Candidate {
  T score;
  std::int32_t id;
};

/// The order of top_k(): score descending, then id ascending, NaN last.
template <class T>
bool is_before(const Candidate<T>& a, const Candidate<T>& b) {
  if (a.score > b.score || (std::isnan(b.score) && !std::isnan(a.score))) return true;
  if (a.score < b.score || (std::isnan(a.score) && !std::isnan(b.score))) return false;
  return a.id < b.id;
}

/// The best k of consecutive sorted lists, added one after the other.
template <class T>
class BestOf {
 public:
  explicit BestOf(std::int64_t k) : k_(k) {}

  /// Adds `count` candidates, get(i) in order.
  template <class Get>
  void add(std::int64_t count, Get get) {
    const auto middle = std::ssize(best_);
    for (std::int64_t i = 0; i < count; ++i) best_.push_back(get(i));
    std::inplace_merge(best_.begin(), best_.begin() + middle, best_.end(), is_before<T>);
    if (std::ssize(best_) > k_) best_.resize(at(k_));
  }

  std::span<const Candidate<T>> best() const noexcept { return best_; }

 private:
  std::int64_t k_;
  std::vector<Candidate<T>> best_;
};

template <class T>
TopKResult top_of_all(ShardedItems& items, const AllHidden& all, std::int64_t k,
                      std::int64_t first) {
  Communicator& communicator = items.communicator();
  std::vector<BestOf<T>> best(at(all.hidden.size(0)), BestOf<T>(k));
  for (const ShardPart& part : parts_from(items, first)) {
    const std::int64_t count = std::min(k, part.weight.size(0));
    ScoreBlocks blocks(all.hidden, part.weight, part.bias);
    for (std::int64_t block = 0; block < blocks.count(); ++block) {
      const TopKResult top = top_k(blocks.scores(block), count);
      const std::int64_t begin = blocks.begin(block);
      parallel_for(blocks.end(block) - begin, 16, [&](std::int64_t from, std::int64_t to) {
        for (std::int64_t row = from; row < to; ++row) {
          const T* const scores = top.values.data<T>() + row * count;
          const std::int32_t* const places = top.indices.data<std::int32_t>() + row * count;
          best[at(begin + row)].add(count, [&](std::int64_t i) {
            return Candidate<T>{scores[i], static_cast<std::int32_t>(part.id_of(places[i]))};
          });
        }
      });
    }
  }

  // Every rank has min(k, own items) candidates of each row, and sends them to the row's rank.
  const auto candidates_of = [&](int rank) {
    return std::min(k, items.shards().rows_of_rank(rank, first));
  };
  const std::int64_t own_rows = all.rows[at(communicator.rank())];
  const std::int64_t own_candidates = candidates_of(communicator.rank());
  const std::int64_t found = all.hidden.size(0) * own_candidates;
  Tensor values({found}, items.dtype()), ids({found}, DType::i32);
  std::int64_t next = 0;
  for (const BestOf<T>& row : best) {
    for (const Candidate<T>& candidate : row.best()) {
      values.data<T>()[next] = candidate.score;
      ids.data<std::int32_t>()[next++] = candidate.id;
    }
  }
  std::vector<std::int64_t> to, from;
  for (int rank = 0; rank < communicator.size(); ++rank) {
    to.push_back(all.rows[at(rank)] * own_candidates);
    from.push_back(own_rows * candidates_of(rank));
  }
  values = exchange_rows(communicator, values, to, from);
  ids = exchange_rows(communicator, ids, to, from);

  TopKResult result{Tensor({own_rows, k}, items.dtype()), Tensor({own_rows, k}, DType::i32)};
  for (std::int64_t row = 0; row < own_rows; ++row) {
    BestOf<T> of_row(k);
    std::int64_t begin = 0;
    for (int rank = 0; rank < communicator.size(); ++rank) {
      const std::int64_t count = candidates_of(rank);
      const std::int64_t place = begin + row * count;
      of_row.add(count, [&](std::int64_t i) {
        return Candidate<T>{values.data<T>()[place + i], ids.data<std::int32_t>()[place + i]};
      });
      begin += own_rows * count;
    }
    std::int64_t place = row * k;
    for (const Candidate<T>& candidate : of_row.best()) {
      result.values.data<T>()[place] = candidate.score;
      result.indices.data<std::int32_t>()[place++] = candidate.id;
    }
  }
  return result;
}

/// The numbers of rows with targets in the same shard, one shard after the other, so that few
/// blocks have targets of a shard.
Tensor order_by_shard(const Tensor& targets) {
  Tensor order(targets.shape(), DType::i32);
  const std::span<std::int32_t> rows = order.span<std::int32_t>();
  const std::int32_t* const ids = targets.data<std::int32_t>();
  std::iota(rows.begin(), rows.end(), 0);
  std::ranges::stable_sort(rows, {},
                           [&](std::int32_t row) { return RowShards::shard_of(ids[row]); });
  return order;
}

template <class T>
bool is_above(T a, T b) {
  return a > b || (std::isnan(b) && !std::isnan(a));
}

/// For each row the number of own items with a larger score than the target's and of other own
/// items with the same score, [M,2]; hidden and targets of all ranks, ordered by shard.
template <class T>
Tensor counts_of(ShardedItems& items, const Tensor& hidden, const Tensor& targets,
                 std::int64_t first) {
  Communicator& communicator = items.communicator();
  const std::span<const std::int32_t> ids = targets.span<std::int32_t>();
  // [rows of the targets of shard s: shard_begins[s], shard_begins[s + 1])
  std::vector<std::int64_t> shard_begins(at(RowShards::count + 1), 0);
  for (const std::int32_t id : ids) ++shard_begins[at(RowShards::shard_of(id) + 1)];
  std::partial_sum(shard_begins.begin(), shard_begins.end(), shard_begins.begin());

  // The score of each target comes from the product in which it is counted below.
  const std::vector<ShardPart> parts = parts_from(items, first);
  Tensor scores({hidden.size(0)}, items.dtype());
  for (const ShardPart& part : parts) {
    const std::int64_t begin = shard_begins[at(part.number)];
    const std::int64_t end = shard_begins[at(part.number + 1)];
    ScoreBlocks blocks(hidden, part.weight, part.bias);
    for (std::int64_t block = 0; block < blocks.count(); ++block) {
      if (blocks.end(block) <= begin || blocks.begin(block) >= end) continue;
      const Tensor block_scores = blocks.scores(block);
      for (std::int64_t row = std::max(begin, blocks.begin(block));
           row < std::min(end, blocks.end(block)); ++row) {
        const std::int64_t place = RowShards::index_of(ids[at(row)]) - part.begin;
        scores.data<T>()[row] =
            block_scores.data<T>()[(row - blocks.begin(block)) * part.weight.size(0) + place];
      }
    }
  }
  std::vector<std::int64_t> owned;
  for (int rank = 0; rank < communicator.size(); ++rank) {
    const SliceRange shards = items.shards().shards_of(rank);
    owned.push_back(shard_begins[at(shards.end)] - shard_begins[at(shards.begin)]);
  }
  const SliceRange own = items.shards().shards_of(communicator.rank());
  scores = gather_tensors(
      communicator, scores.slice(shard_begins[at(own.begin)], shard_begins[at(own.end)]), owned);

  Tensor counts = Tensor::zeros({hidden.size(0), 2}, DType::i64);
  for (const ShardPart& part : parts) {
    const std::int64_t n = part.weight.size(0);
    ScoreBlocks blocks(hidden, part.weight, part.bias);
    for (std::int64_t block = 0; block < blocks.count(); ++block) {
      const Tensor block_scores = blocks.scores(block);
      const std::int64_t first_row = blocks.begin(block);
      parallel_for(blocks.end(block) - first_row, 16, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
          const T own_score = scores.data<T>()[first_row + i];
          std::int64_t above = 0, same = 0;
          for (const T score : block_scores.span<T>().subspan(at(i * n), at(n))) {
            above += is_above(score, own_score) ? 1 : 0;
            same += !is_above(score, own_score) && !is_above(own_score, score) ? 1 : 0;
          }
          const bool has_target = RowShards::shard_of(ids[at(first_row + i)]) == part.number;
          std::int64_t* const to = counts.data<std::int64_t>() + (first_row + i) * 2;
          to[0] += above;
          to[1] += same - (has_target ? 1 : 0);
        }
      });
    }
  }
  return counts;
}

}  // namespace

TopKResult top_k(const Tensor& hidden, ShardedItems& items, std::int64_t k, std::int64_t first) {
  check_arguments("top_k", hidden, items, first);
  if (k < 1 || k > items.count() - first) {
    throw ShapeError(
        detail::concat("top_k: expected 1 <= k <= ", items.count() - first, ", got ", k));
  }
  Communicator& communicator = items.communicator();
  AllHidden all{
      .rows = rows_of_ranks(communicator, "top_k", hidden.size(0), "k or the first id", {k, first}),
      .hidden = {}};
  all.hidden = gather_tensors(communicator, hidden, all.rows);
  TopKResult result;
  with_type(items.dtype(), [&]<class T>(T) { result = top_of_all<T>(items, all, k, first); });
  return result;
}

std::vector<Rank> rank_targets(const Tensor& hidden, ShardedItems& items, const Tensor& targets,
                               std::int64_t first) {
  constexpr const char* op = "rank_targets";
  check_arguments(op, hidden, items, first);
  detail::check_shape(op, "targets", targets, {hidden.size(0)});
  detail::check_ids(op, "targets", targets, items.count(), Device::cpu);
  for (const std::int32_t id : targets.span<std::int32_t>()) {
    if (id < first) {
      throw OptionError(
          detail::concat(op, ": expected targets from the first id ", first, " on, got ", id));
    }
  }
  Communicator& communicator = items.communicator();
  const std::vector<std::int64_t> rows =
      rows_of_ranks(communicator, op, hidden.size(0), "the first id", {first, 0});
  const Tensor all_hidden = gather_tensors(communicator, hidden, rows);
  const Tensor all_targets = gather_tensors(communicator, targets, rows);
  const Tensor order = order_by_shard(all_targets);
  const Tensor ordered_hidden = gathered_rows(all_hidden, order);
  Tensor ordered_targets(order.shape(), DType::i32);
  for (std::int64_t i = 0; i < order.numel(); ++i) {
    ordered_targets.data<std::int32_t>()[i] =
        all_targets.data<std::int32_t>()[order.data<std::int32_t>()[i]];
  }
  Tensor counts;
  with_type(items.dtype(), [&]<class T>(T) {
    counts = counts_of<T>(items, ordered_hidden, ordered_targets, first);
  });

  // Back in the order of the ranks' rows; every rank adds up the counts of its rows.
  Tensor sent(counts.shape(), DType::i64);
  for (std::int64_t i = 0; i < order.numel(); ++i) {
    const std::int64_t row = order.data<std::int32_t>()[i];
    sent.slice(row, row + 1).copy_from(counts.slice(i, i + 1));
  }
  const std::int64_t own = hidden.size(0);
  const std::vector<std::int64_t> from(rows.size(), own);
  const Tensor received = exchange_rows(communicator, sent, rows, from);
  std::vector<Rank> ranks(at(own), Rank{.candidates = items.count() - first});
  for (std::int64_t i = 0; i < received.size(0); ++i) {
    Rank& rank = ranks[at(i % own)];
    rank.greater += received.data<std::int64_t>()[i * 2];
    rank.equal += received.data<std::int64_t>()[i * 2 + 1];
  }
  return ranks;
}

}  // namespace refrain
