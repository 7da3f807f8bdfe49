#include "refrain/train/naive_bayes.hpp"

#include <algorithm>
#include <cmath>

#include "refrain/core/parallel.hpp"
#include "src/counted_rows.hpp"

namespace refrain {
namespace {

std::span<const std::int32_t> newest_items(std::span<const std::int32_t> row, std::int64_t length) {
  return row.last(std::min(static_cast<std::size_t>(length), row.size()));
}

void expect_naive_bayes(const RaggedIds& histories, const TransferExamples& training,
                        const NaiveBayesOptions& options) {
  detail::expect_counted_ids("NaiveBayes", histories, options.first_item, options.ids);
  if (options.classes < 1)
    throw OptionError(detail::concat("NaiveBayes: expected classes >= 1, got ", options.classes));
  if (options.length < 1)
    throw OptionError(detail::concat("NaiveBayes: expected length >= 1, got ", options.length));
  if (!(options.smoothing > 0) || !std::isfinite(options.smoothing))
    throw OptionError(
        detail::concat("NaiveBayes: expected a smoothing above 0, got ", options.smoothing));
  if (training.target.empty() || training.source.size() != training.target.size())
    throw OptionError(detail::concat("NaiveBayes: expected a label for each of at least one row, ",
                                     "got ", training.source.size(), " rows and ",
                                     training.target.size(), " labels"));
  detail::expect_counted_ids("NaiveBayes: labels", training.target, 0, options.classes);
}

}  // namespace

NaiveBayes::NaiveBayes(const RaggedIds& histories, const TransferExamples& training,
                       const NaiveBayesOptions& options)
    : options_(options) {
  expect_naive_bayes(histories, training, options);
  const double a = options.smoothing;
  const double items = static_cast<double>(options.ids - options.first_item);
  const double classes = static_cast<double>(options.classes);
  std::vector<std::int64_t> examples(static_cast<std::size_t>(options.classes));
  std::vector<std::int64_t> events(static_cast<std::size_t>(options.classes));
  std::vector<std::uint64_t> keys;  // an item and a label that it occurs with
  for (std::size_t e = 0; e < training.target.size(); ++e) {
    const std::size_t label = static_cast<std::size_t>(training.target[e]);
    ++examples[label];
    for (const std::int32_t id : newest_items(histories[training.source[e]], options.length)) {
      if (id < options.first_item) continue;
      ++events[label];
      keys.push_back(static_cast<std::uint64_t>(id) << 32 | label);
    }
  }
  const double total = static_cast<double>(training.target.size());
  for (std::size_t label = 0; label < examples.size(); ++label) {
    prior_.push_back(std::log((static_cast<double>(examples[label]) + a) / (total + a * classes)));
    unseen_.push_back(std::log(a / (static_cast<double>(events[label]) + a * items)));
  }
  std::sort(keys.begin(), keys.end());
  begin_.assign(static_cast<std::size_t>(options.ids) + 1, 0);
  for (std::size_t i = 0; i < keys.size();) {
    std::size_t end = i;
    while (end < keys.size() && keys[end] == keys[i]) ++end;
    ++begin_[static_cast<std::size_t>(keys[i] >> 32) + 1];
    label_.push_back(static_cast<std::int32_t>(keys[i] & 0xFFFF'FFFF));
    gain_.push_back(std::log1p(static_cast<double>(end - i) / a));
    i = end;
  }
  for (std::size_t i = 1; i < begin_.size(); ++i) begin_[i] += begin_[i - 1];
}

Tensor NaiveBayes::scores(const Tensor& ids) const {
  detail::expect_histories("NaiveBayes", ids, options_.ids);
  Tensor scores({ids.size(0), options_.classes}, DType::f32);
  float* out = scores.data<float>();
  parallel_for(ids.size(0), 16, [&](std::int64_t begin, std::int64_t end) {
    std::vector<double> sums;
    for (std::int64_t row = begin; row < end; ++row) {
      sums = prior_;
      double items = 0;
      for (const std::int32_t id : newest_items(detail::history_of(ids, row), options_.length)) {
        if (id < options_.first_item) continue;
        ++items;
        const std::size_t item = static_cast<std::size_t>(id);
        for (std::int64_t i = begin_[item]; i < begin_[item + 1]; ++i) {
          const std::size_t at = static_cast<std::size_t>(i);
          sums[static_cast<std::size_t>(label_[at])] += gain_[at];
        }
      }
      for (std::size_t label = 0; label < sums.size(); ++label) {
        out[row * options_.classes + static_cast<std::int64_t>(label)] =
            static_cast<float>(sums[label] + items * unseen_[label]);
      }
    }
  });
  return scores;
}

}  // namespace refrain
