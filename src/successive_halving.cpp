#include "refrain/train/successive_halving.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "refrain/core/error.hpp"

namespace refrain {
namespace {

using Numbers = std::vector<std::int64_t>;

void check(const SuccessiveHalvingOptions& options) {
  const auto expect = [](bool holds, const char* expected, std::int64_t got) {
    if (!holds)
      throw OptionError(detail::concat("successive_halving: expected ", expected, ", got ", got));
  };
  expect(options.candidates >= 1, "candidates >= 1", options.candidates);
  expect(options.first_epochs >= 1, "first_epochs >= 1", options.first_epochs);
  expect(options.max_epochs >= 0, "max_epochs >= 0", options.max_epochs);
  expect(options.final_epochs >= 0, "final_epochs >= 0", options.final_epochs);
}

/// The epochs of a round: first_epochs doubled in each round, at most max_epochs.
std::int64_t epochs_of(const SuccessiveHalvingOptions& options, std::int64_t round) {
  const std::int64_t limit =
      options.max_epochs > 0 ? options.max_epochs : std::numeric_limits<std::int64_t>::max();
  std::int64_t epochs = std::min(options.first_epochs, limit);
  for (std::int64_t r = 0; r < round; ++r) epochs = epochs > limit / 2 ? limit : 2 * epochs;
  return epochs;
}

/// Of the numbers with a finite figure, the `count` best ones, in ascending order.
Numbers best_of(Numbers numbers, const std::vector<double>& figures, std::int64_t count,
                bool larger_is_better) {
  const auto figure = [&](std::int64_t number) {
    return figures[static_cast<std::size_t>(number)];
  };
  std::erase_if(numbers, [&](std::int64_t number) { return !std::isfinite(figure(number)); });
  std::stable_sort(numbers.begin(), numbers.end(), [&](std::int64_t a, std::int64_t b) {
    return larger_is_better ? figure(a) > figure(b) : figure(a) < figure(b);
  });
  if (std::ssize(numbers) > count) numbers.resize(static_cast<std::size_t>(count));
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

}  // namespace

std::optional<std::int64_t> successive_halving(const SuccessiveHalvingOptions& options,
                                               const TrainCandidate& train) {
  check(options);
  Numbers all(static_cast<std::size_t>(options.candidates));
  std::iota(all.begin(), all.end(), 0);
  std::vector<double> figures(all.size());
  Numbers field = all;
  for (std::int64_t round = 0; field.size() > 1; ++round) {
    const bool is_final = field.size() == 2 && options.final_epochs > 0;
    const std::int64_t epochs = is_final ? options.final_epochs : epochs_of(options, round);
    for (const std::int64_t number : field) {
      const std::optional<double> figure = train(number, epochs);
      if (!figure) return std::nullopt;
      figures[static_cast<std::size_t>(number)] = *figure;
    }
    const bool is_last = is_final || epochs == options.max_epochs;
    const Numbers kept = best_of(field, figures, is_last ? 1 : (std::ssize(field) + 1) / 2,
                                 options.larger_is_better);
    HalvingRound report{.round = round, .epochs = epochs};
    for (const std::int64_t number : field) {
      report.candidates.push_back(
          {.number = number,
           .figure = figures[static_cast<std::size_t>(number)],
           .is_kept = std::binary_search(kept.begin(), kept.end(), number)});
    }
    if (options.on_round) options.on_round(report);
    field = kept;
  }
  if (field.empty()) field = best_of(all, figures, 1, options.larger_is_better);
  if (field.empty()) {
    throw Error(detail::concat("successive_halving: none of the ", options.candidates,
                               " candidates has a finite figure"));
  }
  return field.front();
}

}  // namespace refrain
