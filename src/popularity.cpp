#include "refrain/train/popularity.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

namespace refrain {
namespace {

void expect_score_row(const Tensor& row) {
  if (row.rank() != 1)
    throw ShapeError(detail::concat("popularity: expected scores [V], got ", row.shape()));
  if (row.dtype() != DType::f32)
    throw DTypeError(detail::concat("popularity: expected scores of f32, got ", row.dtype()));
}

/// Calls visit(count) to count ids, and returns the logarithms.
template <class Visit>
Tensor logs_of_counts(std::int64_t size, const Visit& visit) {
  if (size < 1)
    throw OptionError(detail::concat("log_frequencies: expected size >= 1, got ", size));
  std::vector<double> counts(static_cast<std::size_t>(size), 0.5);
  visit([&](std::int32_t id) {
    if (id < 0 || id >= size)
      throw OptionError(
          detail::concat("log_frequencies: expected ids in [0, ", size, "), got ", id));
    counts[static_cast<std::size_t>(id)] += 1;
  });
  Tensor scores({size}, DType::f32);
  std::transform(counts.begin(), counts.end(), scores.data<float>(),
                 [](double count) { return static_cast<float>(std::log(count)); });
  return scores;
}

}  // namespace

Tensor log_frequencies(std::span<const std::int32_t> ids, std::int64_t size) {
  return logs_of_counts(size,
                        [&](const auto& count) { std::for_each(ids.begin(), ids.end(), count); });
}

Tensor log_frequencies(const RaggedIds& rows, std::int64_t size) {
  return logs_of_counts(size, [&](const auto& count) { rows.for_each(count); });
}

Tensor repeat_row(const Tensor& row, std::int64_t count) {
  expect_score_row(row);
  const Tensor here = row.to(Device::cpu);
  Tensor rows({count, here.numel()}, DType::f32);
  for (std::int64_t b = 0; b < count; ++b)
    std::copy_n(here.data<float>(), here.numel(), rows.data<float>() + b * here.numel());
  return rows;
}

MostPopular::MostPopular(const Tensor& log_frequency, std::int64_t length)
    : length_(length), log_frequency_(log_frequency) {
  expect_score_row(log_frequency);
  if (length < 1)
    throw OptionError(detail::concat("MostPopular: expected length >= 1, got ", length));
  log_frequency_.set_requires_grad(false);
}

Tensor MostPopular::scores(const Tensor& ids) const {
  return repeat_row(log_frequency_.value(), ids.size(0));
}

}  // namespace refrain
