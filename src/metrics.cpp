#include "refrain/train/metrics.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <type_traits>

#include "refrain/core/parallel.hpp"

namespace refrain {
namespace {

/// Total order of numbers: NaN is below every number and equal to itself.
template <class T>
bool above(T a, T b) {
  return a > b || (std::isnan(b) && !std::isnan(a));
}

template <class T>
void count_against(T positive, T other, Rank& rank, std::int64_t times) {
  if (above(other, positive)) {
    rank.greater += times;
  } else if (!above(positive, other)) {
    rank.equal += times;
  }
  rank.candidates += times;
}

/// The excluded items that count: distinct, ascending, within the protocol's items, without the
/// positive.
std::vector<std::int32_t> excluded_items(const RankingProtocol& protocol, std::int32_t positive,
                                         std::span<const std::int32_t> excluded) {
  std::vector<std::int32_t> ids;
  ids.reserve(excluded.size());
  for (const std::int32_t id : excluded) {
    if (id >= protocol.first && id - protocol.first < protocol.items && id != positive)
      ids.push_back(id);
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

void check_positive(const RankingProtocol& protocol, std::int32_t positive) {
  if (positive < protocol.first || positive - protocol.first >= protocol.items) {
    throw OptionError(
        detail::concat("rank_of: expected a positive among the items [", protocol.first, ", ",
                       std::int64_t{protocol.first} + protocol.items, "), got ", positive));
  }
}

std::string rounded(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4f", value);
  return text;
}

void check_scores(const char* op, const Tensor& scores, const Tensor& ids) {
  if (scores.rank() != 2)
    throw ShapeError(detail::concat(op, ": expected scores [B,V], got ", scores.shape()));
  if (ids.shape() != Shape{scores.size(0)})
    throw ShapeError(
        detail::concat(op, ": expected ids [", scores.size(0), "], got ", ids.shape()));
  if (!is_floating(scores.dtype()))
    throw DTypeError(detail::concat(op, ": expected scores of f32 or f64, got ", scores.dtype()));
  if (ids.dtype() != DType::i32)
    throw DTypeError(detail::concat(op, ": expected ids of i32, got ", ids.dtype()));
}

void check_classes(const char* op, const Tensor& scores, const Tensor& classes) {
  check_scores(op, scores, classes);
  for (const std::int32_t expected : classes.span<std::int32_t>()) {
    if (expected < 0 || expected >= scores.size(1)) {
      throw OptionError(
          detail::concat(op, ": expected a class in [0, ", scores.size(1), "), got ", expected));
    }
  }
}

/// Sum over rows of -log softmax(scores)[class].
template <class T>
double cross_entropy_sum(const T* row, const Tensor& scores, const Tensor& classes) {
  const std::int64_t width = scores.size(1);
  double sum = 0;
  for (const std::int32_t expected : classes.span<std::int32_t>()) {
    const double largest = *std::max_element(row, row + width);
    double total = 0;
    for (std::int64_t k = 0; k < width; ++k) total += std::exp(row[k] - largest);
    sum += std::log(total) + largest - row[expected];
    row += width;
  }
  return sum;
}

/// Calls function(row, scores of the row) for all rows, in parallel.
template <class Function>
void for_rows(const Tensor& scores, Function function) {
  const std::int64_t width = scores.size(1);
  const auto run = [&](const auto* values) {
    using T = std::remove_cvref_t<decltype(*values)>;
    parallel_for(scores.size(0), 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        function(row, std::span<const T>(values + row * width, static_cast<std::size_t>(width)));
      }
    });
  };
  scores.dtype() == DType::f32 ? run(scores.data<float>()) : run(scores.data<double>());
}

}  // namespace

std::string RankingProtocol::text() const {
  std::string text = kind == Kind::full ? detail::concat("full, ", with_commas(items), " items")
                                        : detail::concat("sampled, ", negatives, " negatives of ",
                                                         with_commas(items), " items, seed ", seed);
  if (without_seen) text += ", seen ones left out";
  return text;
}

std::vector<std::int32_t> sampled_negatives(std::int32_t positive, const RankingProtocol& protocol,
                                            std::span<const std::int32_t> excluded,
                                            std::int64_t example) {
  check_positive(protocol, positive);
  std::vector<std::int32_t> unavailable = excluded_items(protocol, positive, excluded);
  unavailable.insert(std::lower_bound(unavailable.begin(), unavailable.end(), positive), positive);
  const std::int64_t available = protocol.items - static_cast<std::int64_t>(unavailable.size());
  if (protocol.negatives < 1 || protocol.negatives > available) {
    throw OptionError(detail::concat("sampled_negatives: expected 1 to ", available,
                                     " negatives, the number of items without the positive and ",
                                     "the excluded ones, got ", protocol.negatives));
  }
  // Floyd's algorithm draws a set of distinct positions among the available items with equal
  // probability.
  Random random = Random(protocol.seed).split(static_cast<std::uint64_t>(example));
  std::vector<std::int64_t> positions;
  for (std::int64_t last = available - protocol.negatives; last < available; ++last) {
    const std::int64_t drawn = random.below(last + 1);
    const auto place = std::lower_bound(positions.begin(), positions.end(), drawn);
    if (place != positions.end() && *place == drawn) {
      positions.push_back(last);  // larger than all positions before it
    } else {
      positions.insert(place, drawn);
    }
  }
  // The n-th available item is n plus the number of excluded items up to it.
  std::vector<std::int32_t> ids;
  ids.reserve(positions.size());
  std::size_t passed = 0;
  for (const std::int64_t position : positions) {
    while (passed < unavailable.size() &&
           unavailable[passed] - protocol.first <= position + static_cast<std::int64_t>(passed))
      ++passed;
    ids.push_back(
        static_cast<std::int32_t>(protocol.first + position + static_cast<std::int64_t>(passed)));
  }
  return ids;
}

template <class T>
Rank rank_of(std::span<const T> scores, std::int32_t positive, const RankingProtocol& protocol,
             std::span<const std::int32_t> excluded, std::int64_t example) {
  check_positive(protocol, positive);
  if (protocol.first < 0 ||
      std::int64_t{protocol.first} + protocol.items > static_cast<std::int64_t>(scores.size())) {
    throw OptionError(detail::concat("rank_of: expected a score for each item [", protocol.first,
                                     ", ", std::int64_t{protocol.first} + protocol.items, "), got ",
                                     scores.size(), " scores"));
  }
  const T own = scores[static_cast<std::size_t>(positive)];
  Rank rank;
  if (protocol.kind == RankingProtocol::Kind::sampled) {
    for (const std::int32_t id : sampled_negatives(positive, protocol, excluded, example)) {
      count_against(own, scores[static_cast<std::size_t>(id)], rank, 1);
    }
    return rank;
  }
  const T* begin = scores.data() + protocol.first;
  if (std::isnan(own)) {
    for (std::int32_t i = 0; i < protocol.items; ++i) count_against(own, begin[i], rank, 1);
  } else {  // two comparisons for each item, which vectorize
    std::int64_t greater = 0;
    std::int64_t equal = 0;
    for (std::int32_t i = 0; i < protocol.items; ++i) {
      greater += begin[i] > own ? 1 : 0;
      equal += begin[i] == own ? 1 : 0;
    }
    rank = {.greater = greater, .equal = equal, .candidates = std::int64_t{1} + protocol.items};
  }
  count_against(own, own, rank, -1);  // the comparison of the positive with itself
  for (const std::int32_t id : excluded_items(protocol, positive, excluded)) {
    count_against(own, scores[static_cast<std::size_t>(id)], rank, -1);
  }
  return rank;
}

template Rank rank_of<float>(std::span<const float>, std::int32_t, const RankingProtocol&,
                             std::span<const std::int32_t>, std::int64_t);
template Rank rank_of<double>(std::span<const double>, std::int32_t, const RankingProtocol&,
                              std::span<const std::int32_t>, std::int64_t);

template <class T>
Rank rank_among(T positive, std::span<const T> negatives) {
  Rank rank;
  for (const T score : negatives) count_against(positive, score, rank, 1);
  return rank;
}

template Rank rank_among<float>(float, std::span<const float>);
template Rank rank_among<double>(double, std::span<const double>);

std::vector<Rank> rank_rows(const Tensor& scores, const Tensor& positives,
                            const RankingProtocol& protocol, std::int64_t first_example,
                            std::span<const std::span<const std::int32_t>> excluded) {
  check_scores("rank_rows", scores, positives);
  if (!excluded.empty() && static_cast<std::int64_t>(excluded.size()) != scores.size(0)) {
    throw ShapeError(detail::concat("rank_rows: expected ", scores.size(0),
                                    " lists of excluded ids or none, got ", excluded.size()));
  }
  std::vector<Rank> ranks(static_cast<std::size_t>(scores.size(0)));
  const std::int32_t* ids = positives.data<std::int32_t>();
  for_rows(scores, [&](std::int64_t row, auto values) {
    const std::size_t at = static_cast<std::size_t>(row);
    ranks[at] = rank_of(values, ids[row], protocol,
                        excluded.empty() ? std::span<const std::int32_t>() : excluded[at],
                        first_example + row);
  });
  return ranks;
}

RankingMetrics::RankingMetrics(RankingProtocol protocol, std::vector<std::int64_t> cutoffs)
    : protocol_(protocol) {
  for (const std::int64_t cutoff : cutoffs) {
    if (cutoff < 1) throw OptionError(detail::concat("cutoffs: expected at least 1, got ", cutoff));
    sums_.push_back({.cutoff = cutoff});
  }
}

void RankingMetrics::add(const Rank& rank) {
  ++count_;
  const double orders = static_cast<double>(rank.equal + 1);
  for (Sums& sums : sums_) {
    const std::int64_t last = std::min(sums.cutoff, rank.greater + rank.equal + 1);
    if (last <= rank.greater) continue;
    double reciprocal = 0;
    double discounted = 0;
    for (std::int64_t place = rank.greater + 1; place <= last; ++place) {
      reciprocal += 1.0 / static_cast<double>(place);
      discounted += 1.0 / std::log2(static_cast<double>(place) + 1);
    }
    sums.hr += static_cast<double>(last - rank.greater) / orders;
    sums.mrr += reciprocal / orders;
    sums.ndcg += discounted / orders;
  }
  const double others = static_cast<double>(rank.candidates - 1);
  const double below =
      others - static_cast<double>(rank.greater) - static_cast<double>(rank.equal) / 2;
  auc_ += others > 0 ? below / others : 0.5;
}

void RankingMetrics::add(std::span<const Rank> ranks) {
  for (const Rank& rank : ranks) add(rank);
}

const RankingMetrics::Sums& RankingMetrics::sums(std::int64_t k) const {
  for (const Sums& sums : sums_) {
    if (sums.cutoff == k) return sums;
  }
  throw OptionError(
      detail::concat("RankingMetrics: expected one of the cutoffs of its constructor, got ", k));
}

std::vector<std::pair<std::string, double>> RankingMetrics::figures() const {
  std::vector<std::pair<std::string, double>> figures;
  for (const Sums& sums : sums_) {
    figures.emplace_back(detail::concat("HR@", sums.cutoff), mean(sums.hr));
    figures.emplace_back(detail::concat("MRR@", sums.cutoff), mean(sums.mrr));
    figures.emplace_back(detail::concat("NDCG@", sums.cutoff), mean(sums.ndcg));
  }
  figures.emplace_back("AUC", auc());
  return figures;
}

std::string RankingMetrics::text() const {
  std::string text;
  for (const auto& [name, value] : figures())
    text += detail::concat(name, " ", rounded(value), "  ");
  return text + detail::concat("(", protocol_.text(), "; ", with_commas(count_), " examples)");
}

void Accuracy::add(const Tensor& scores, const Tensor& classes) {
  check_classes("Accuracy", scores, classes);
  const RankingProtocol all{.first = 0, .items = static_cast<std::int32_t>(scores.size(1))};
  for (const Rank& rank : rank_rows(scores, classes, all)) {
    if (rank.greater == 0) correct_ += 1.0 / static_cast<double>(rank.equal + 1);
  }
  count_ += scores.size(0);
  classes_ = scores.size(1);
}

double Accuracy::standard_error() const noexcept {
  return count_ == 0 ? 0 : std::sqrt(value() * (1 - value()) / static_cast<double>(count_));
}

std::string Accuracy::text() const {
  return detail::concat("accuracy ", rounded(value()), " +- ", rounded(standard_error()), " (",
                        classes_, " classes; ", with_commas(count_), " examples)");
}

void CrossEntropy::add(const Tensor& scores, const Tensor& classes) {
  check_classes("CrossEntropy", scores, classes);
  sum_ += scores.dtype() == DType::f32 ? cross_entropy_sum(scores.data<float>(), scores, classes)
                                       : cross_entropy_sum(scores.data<double>(), scores, classes);
  count_ += scores.size(0);
}

double auc(std::span<const double> scores, std::span<const std::uint8_t> is_positive) {
  if (scores.size() != is_positive.size()) {
    throw OptionError(detail::concat("auc: expected one label per score, got ", scores.size(),
                                     " scores and ", is_positive.size(), " labels"));
  }
  std::vector<std::size_t> order(scores.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return above(scores[b], scores[a]); });
  double pairs = 0;
  double negatives = 0;
  double positives = 0;
  for (std::size_t begin = 0; begin < order.size();) {  // groups of equal scores, ascending
    double negatives_here = 0;
    double positives_here = 0;
    std::size_t end = begin;
    for (; end < order.size() && !above(scores[order[end]], scores[order[begin]]); ++end) {
      (is_positive[order[end]] != 0 ? positives_here : negatives_here) += 1;
    }
    pairs += positives_here * (negatives + negatives_here / 2);
    negatives += negatives_here;
    positives += positives_here;
    begin = end;
  }
  return positives > 0 && negatives > 0 ? pairs / (positives * negatives) : 0.5;
}

}  // namespace refrain
