#include "refrain/train/pending_losses.hpp"

#include <cstring>
#include <utility>

namespace refrain {
namespace {

constexpr std::size_t figure_bytes = 8;  ///< size of a loss or a norm

double number_at(const char* bytes, DType dtype) {
  if (dtype == DType::f64) {
    double value = 0;
    std::memcpy(&value, bytes, sizeof value);
    return value;
  }
  float value = 0;
  std::memcpy(&value, bytes, sizeof value);
  return static_cast<double>(value);
}

}  // namespace

PendingLosses::PendingLosses(std::int64_t limit) : limit_(limit) {
  constexpr std::int64_t max_limit = 1 << 20;
  if (limit < 0 || limit > max_limit) {
    throw OptionError(
        detail::concat("pending_losses: expected a number from 0 to ", max_limit, ", got ", limit));
  }
}

/// Slots are used in turn; there is one more than steps may be pending.
std::size_t PendingLosses::offset_of(std::int64_t number) const noexcept {
  return static_cast<std::size_t>(number % (limit_ + 1)) * 2 * figure_bytes;
}

void PendingLosses::push(const StepReport& step, const Tensor& loss, const Tensor& norm) {
  if (figures_.data() == nullptr)
    figures_ =
        PinnedBuffer(2 * figure_bytes * (static_cast<std::size_t>(limit_) + 1), loss.device());
  const std::size_t at = offset_of(pushed_++);
  figures_.fetch(loss.raw(), at, loss.bytes());
  if (norm.defined()) figures_.fetch(norm.raw(), at + figure_bytes, norm.bytes());
  steps_.push_back({.report = step,
                    .dtype = loss.dtype(),
                    .is_clipped = norm.defined(),
                    .known = Event(loss.device())});
  steps_.back().known.record();
}

std::optional<StepReport> PendingLosses::pop(std::int64_t allowed) {
  if (steps_.empty()) return std::nullopt;
  const std::int64_t count = static_cast<std::int64_t>(steps_.size());
  Step& oldest = steps_.front();
  if (count <= allowed && !oldest.known.has_passed()) return std::nullopt;
  oldest.known.synchronize();
  const char* figures = static_cast<const char*>(figures_.data()) + offset_of(pushed_ - count);
  StepReport known = oldest.report;
  known.loss = number_at(figures, oldest.dtype);
  if (oldest.is_clipped) known.gradient_norm = number_at(figures + figure_bytes, oldest.dtype);
  steps_.pop_front();
  return known;
}

}  // namespace refrain
