#include "refrain/train/ngram.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include "refrain/core/parallel.hpp"
#include "src/counted_rows.hpp"

namespace refrain {
namespace {

constexpr std::uint32_t no_context = std::numeric_limits<std::uint32_t>::max();

}  // namespace

NGram::NGram(const RaggedIds& sequences, const NGramOptions& options) : options_(options) {
  if (options.order < 1 || options.order > max_order)
    throw OptionError(
        detail::concat("NGram: expected order 1 to ", max_order, ", got ", options.order));
  detail::expect_counted_ids("NGram", sequences, options.first_item, options.ids);
  if (sequences.total() >= std::int64_t{no_context})
    throw OptionError(detail::concat("NGram: expected fewer than ", no_context, " events, got ",
                                     sequences.total()));
  const std::size_t first = static_cast<std::size_t>(options.first_item);
  std::vector<std::int64_t> counts(static_cast<std::size_t>(options.ids));
  sequences.for_each([&](std::int32_t id) { ++counts[static_cast<std::size_t>(id)]; });
  double events = 0;
  double distinct = 0;
  for (std::size_t id = first; id < counts.size(); ++id) {
    events += static_cast<double>(counts[id]);
    distinct += counts[id] > 0 ? 1 : 0;
  }
  if (events == 0) throw OptionError("NGram: expected sequences with at least one item, got none");
  const double share = distinct / static_cast<double>(counts.size() - first);
  unigram_.resize(counts.size());
  for (std::size_t id = first; id < counts.size(); ++id)
    unigram_[id] = (static_cast<double>(counts[id]) + share) / (events + distinct);
  // The context that ends with each event: at first the event's own item.
  std::vector<std::uint32_t> context;
  context.reserve(static_cast<std::size_t>(sequences.total()));
  sequences.for_each([&](std::int32_t id) {
    context.push_back(id < options.first_item ? no_context : static_cast<std::uint32_t>(id));
  });
  for (std::int64_t level = 1; level < options.order; ++level) add_level(sequences, context);
}

void NGram::add_level(const RaggedIds& sequences, std::vector<std::uint32_t>& context) {
  // A key is a context and the item after it.
  constexpr std::uint64_t no_key = std::numeric_limits<std::uint64_t>::max();
  std::vector<std::uint64_t> key_of(context.size(), no_key);
  std::size_t event = 0;
  for (std::int64_t row = 0; row < sequences.rows(); ++row) {
    const std::span<const std::int32_t> items = sequences[row];
    for (std::size_t place = 0; place < items.size(); ++place, ++event) {
      if (place == 0 || items[place] < options_.first_item || context[event - 1] == no_context)
        continue;
      key_of[event] =
          std::uint64_t{context[event - 1]} << 32 | static_cast<std::uint32_t>(items[place]);
    }
  }
  std::vector<std::uint64_t> keys = key_of;
  std::erase(keys, no_key);
  std::sort(keys.begin(), keys.end());
  const std::size_t contexts =
      levels_.empty() ? static_cast<std::size_t>(options_.ids) : levels_.back().item.size();
  Level level{.begin = std::vector<std::int64_t>(contexts + 1), .item = {}, .count = {}};
  for (std::size_t i = 0; i < keys.size();) {
    std::size_t end = i;
    while (end < keys.size() && keys[end] == keys[i]) ++end;
    ++level.begin[static_cast<std::size_t>(keys[i] >> 32) + 1];
    level.item.push_back(static_cast<std::int32_t>(keys[i] & 0xFFFF'FFFF));
    level.count.push_back(static_cast<std::uint32_t>(end - i));
    i = end;
  }
  for (std::size_t i = 1; i < level.begin.size(); ++i) level.begin[i] += level.begin[i - 1];
  keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
  for (std::size_t at = 0; at < context.size(); ++at) {
    context[at] = key_of[at] == no_key
                      ? no_context
                      : static_cast<std::uint32_t>(
                            std::lower_bound(keys.begin(), keys.end(), key_of[at]) - keys.begin());
  }
  levels_.push_back(std::move(level));
}

/// The index of the context of the last `items` items; -1 when it does not occur.
std::int64_t NGram::find_context(std::span<const std::int32_t> history, std::int64_t items) const {
  const std::span<const std::int32_t> last = history.last(static_cast<std::size_t>(items));
  std::int64_t context = last.front();
  for (std::size_t i = 1; i < last.size(); ++i) {
    const Level& level = levels_[i - 1];
    const auto begin = level.item.begin() + level.begin[static_cast<std::size_t>(context)];
    const auto end = level.item.begin() + level.begin[static_cast<std::size_t>(context) + 1];
    const auto found = std::lower_bound(begin, end, last[i]);
    if (found == end || *found != last[i]) return -1;
    context = found - level.item.begin();
  }
  return context;
}

void NGram::add_probabilities(std::span<const std::int32_t> history, std::span<double> sums) const {
  // The followers of ever longer contexts, as long as these have some.
  std::vector<std::pair<std::int64_t, std::int64_t>> followers;
  for (const Level& level : levels_) {
    const std::int64_t items = static_cast<std::int64_t>(followers.size()) + 1;
    if (static_cast<std::size_t>(items) > history.size() ||
        history[history.size() - static_cast<std::size_t>(items)] < options_.first_item)
      break;
    const std::int64_t context = find_context(history, items);
    if (context < 0) break;
    const std::int64_t begin = level.begin[static_cast<std::size_t>(context)];
    const std::int64_t end = level.begin[static_cast<std::size_t>(context) + 1];
    if (begin == end) break;
    followers.emplace_back(begin, end);
  }
  double weight = 1;  // of the probabilities by shorter contexts
  for (std::size_t k = followers.size(); k-- > 0;) {
    const auto [begin, end] = followers[k];
    const Level& level = levels_[k];
    double total = static_cast<double>(end - begin);
    for (std::int64_t i = begin; i < end; ++i) total += level.count[static_cast<std::size_t>(i)];
    for (std::int64_t i = begin; i < end; ++i) {
      const std::size_t at = static_cast<std::size_t>(i);
      sums[static_cast<std::size_t>(level.item[at])] += weight * level.count[at] / total;
    }
    weight *= static_cast<double>(end - begin) / total;
  }
  for (std::size_t id = 0; id < sums.size(); ++id) sums[id] += weight * unigram_[id];
}

Tensor NGram::scores(const Tensor& ids) const {
  detail::expect_histories("NGram", ids, options_.ids);
  Tensor scores({ids.size(0), options_.ids}, DType::f32);
  float* out = scores.data<float>();
  parallel_for(ids.size(0), 16, [&](std::int64_t begin, std::int64_t end) {
    std::vector<double> sums(unigram_.size());
    for (std::int64_t row = begin; row < end; ++row) {
      std::fill(sums.begin(), sums.end(), 0.0);
      add_probabilities(detail::history_of(ids, row), sums);
      std::transform(sums.begin(), sums.end(), out + row * options_.ids,
                     [](double sum) { return static_cast<float>(sum); });
    }
  });
  return scores;
}

}  // namespace refrain
