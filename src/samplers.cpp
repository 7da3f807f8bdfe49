#include "refrain/data/samplers.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace refrain {
namespace {

void check_range(const char* where, std::int32_t first, std::int32_t items,
                 std::int32_t min_items) {
  if (first < 0 || items < min_items || items > std::numeric_limits<std::int32_t>::max() - first) {
    throw OptionError(detail::concat(where, ": expected at least ", min_items,
                                     " ids from 0 up to 2^31 - 1, got ", items, " from ", first));
  }
}

}  // namespace

NegativeSampler::NegativeSampler(Options options)
    : options_(options), scale_(options.rho * options.items), mass_(-std::expm1(-1 / options.rho)) {
  check_range("NegativeSampler", options.first, options.items, 2);
  if (!(options.rho > 0 && std::isfinite(options.rho)))
    throw OptionError(
        detail::concat("NegativeSampler: expected a finite rho > 0, got ", options.rho));
}

/// p of a rank, before the positive is excluded.
double NegativeSampler::prior(std::int32_t rank) const noexcept {
  if (options_.kind == Kind::uniform) return 1.0 / options_.items;
  return std::exp(-rank / scale_) * -std::expm1(-1 / scale_) / mass_;
}

std::int32_t NegativeSampler::draw(std::int32_t positive, Random& random) const {
  const bool exclude = in_range(positive);
  const std::int32_t excluded = exclude ? positive - options_.first : 0;
  if (options_.kind == Kind::uniform) {
    const std::int32_t rank =
        static_cast<std::int32_t>(random.below(exclude ? options_.items - 1 : options_.items));
    return options_.first + rank + (exclude && rank >= excluded ? 1 : 0);
  }
  // The distribution function is F(r) = (1 - exp(-(r + 1) / scale)) / mass; the interval of the
  // positive is removed from it.
  double u = random.uniform();
  if (exclude) {
    u *= 1 - prior(excluded);
    if (u >= -std::expm1(-excluded / scale_) / mass_) u += prior(excluded);
  }
  const double place = std::floor(-scale_ * std::log1p(-std::min(u, 1.0) * mass_));
  std::int32_t rank =
      static_cast<std::int32_t>(std::clamp(place, 0.0, static_cast<double>(options_.items - 1)));
  if (exclude && rank == excluded)
    rank += rank + 1 < options_.items ? 1 : -1;  // rounding at the edges of that interval
  return options_.first + rank;
}

Tensor NegativeSampler::draw(const Tensor& positives, Random& random) const {
  Tensor negatives(positives.shape(), DType::i32);
  const std::span<const std::int32_t> given = positives.span<std::int32_t>();
  std::transform(given.begin(), given.end(), negatives.data<std::int32_t>(),
                 [&](std::int32_t positive) { return draw(positive, random); });
  return negatives;
}

double NegativeSampler::probability(std::int32_t item, std::int32_t positive) const {
  if (!in_range(item) || item == positive) return 0;
  const double kept = in_range(positive) ? 1 - prior(positive - options_.first) : 1;
  return prior(item - options_.first) / kept;
}

CandidateSampler::CandidateSampler(Options options)
    : options_(options), log_range_(std::log1p(options.range)) {
  check_range("CandidateSampler", options.first, options.range, 1);
  if (options_.unique) seen_.resize((static_cast<std::size_t>(options_.range) + 63) / 64, 0);
}

CandidateSample CandidateSampler::draw(std::int64_t count, Random& random) {
  if (count < 1 || (options_.unique && count > options_.range)) {
    throw OptionError(detail::concat("CandidateSampler: expected 1 to ", options_.range,
                                     " distinct candidates, got ", count));
  }
  CandidateSample sample{Tensor(Shape{count}, DType::i32), 0};
  const std::span<std::int32_t> ids = sample.ids.span<std::int32_t>();
  for (std::size_t drawn = 0; drawn < ids.size(); ++sample.num_tries) {
    const std::int64_t k =
        options_.kind == Kind::uniform
            ? random.below(options_.range)
            : std::min(static_cast<std::int64_t>(std::exp(random.uniform() * log_range_)) - 1,
                       static_cast<std::int64_t>(options_.range) - 1);
    if (options_.unique) {
      std::uint64_t& word = seen_[static_cast<std::size_t>(k) / 64];
      const std::uint64_t bit = std::uint64_t{1} << (k % 64);
      if ((word & bit) != 0) continue;
      word |= bit;
    }
    ids[drawn++] = options_.first + static_cast<std::int32_t>(k);
  }
  if (options_.unique) {
    for (const std::int32_t id : ids) seen_[static_cast<std::size_t>(id - options_.first) / 64] = 0;
  }
  return sample;
}

double CandidateSampler::probability(std::int32_t id) const noexcept {
  if (id < options_.first || id - options_.first >= options_.range) return 0;
  if (options_.kind == Kind::uniform) return 1.0 / options_.range;
  const double k = id - options_.first;
  return (std::log(k + 2) - std::log(k + 1)) / log_range_;
}

double CandidateSampler::log_expected_count(std::int32_t id, std::int64_t count,
                                            std::int64_t num_tries) const noexcept {
  const double p = probability(id);
  if (p <= 0) return 0;
  if (!options_.unique) return std::log(static_cast<double>(count) * p);
  return std::log(-std::expm1(static_cast<double>(num_tries) * std::log1p(-p)));
}

Tensor CandidateSampler::log_expected_count(const Tensor& ids, const CandidateSample& sample,
                                            DType dtype) const {
  if (!is_floating(dtype))
    throw DTypeError(detail::concat("CandidateSampler: expected f32 or f64, got ", dtype));
  const std::span<const std::int32_t> given = ids.span<std::int32_t>();
  Tensor logs(ids.shape(), dtype);
  const auto write = [&]<class T>(T* out) {
    for (const std::int32_t id : given)
      *out++ = static_cast<T>(log_expected_count(id, sample.ids.numel(), sample.num_tries));
  };
  dtype == DType::f32 ? write(logs.data<float>()) : write(logs.data<double>());
  return logs;
}

}  // namespace refrain
