#pragma once
/// Losses that a device is still computing.

#include <cstdint>
#include <deque>
#include <optional>

#include "refrain/core/export.hpp"
#include "refrain/core/stream.hpp"
#include "refrain/core/tensor.hpp"
#include "refrain/train/reports.hpp"

namespace refrain {

/// The training steps whose loss and gradient norm are being copied from a device to the host,
/// oldest first.
///
///   pending.push(step, loss, norm);  // queues two copies, waits for nothing
///   while (const auto known = pending.pop(4)) report(*known);  // leaves at most 4 steps pending
class REFRAIN_API PendingLosses {
 public:
  /// `limit`: maximum number of pending steps when push() is called. Throws OptionError unless it
  /// is from 0 to 2^20.
  explicit PendingLosses(std::int64_t limit);

  std::int64_t limit() const noexcept { return limit_; }

  /// Queues the copies of a step's values: `loss` of one element, f32 or f64, and `norm` likewise
  /// or undefined.
  void push(const StepReport& step, const Tensor& loss, const Tensor& norm);

  /// The oldest step with its values when they have arrived; waits for them while more than
  /// `allowed` steps are pending. Empty when no step is left to report.
  std::optional<StepReport> pop(std::int64_t allowed);

  /// Drops the steps without reporting them.
  void clear() noexcept { steps_.clear(); }

 private:
  struct Step {
    StepReport report;
    DType dtype;
    bool is_clipped;
    Event known;  ///< recorded after the copies of loss and norm
  };

  std::size_t offset_of(std::int64_t number) const noexcept;

  std::int64_t limit_;
  std::int64_t pushed_ = 0;
  std::deque<Step> steps_;
  PinnedBuffer figures_;  ///< loss and norm of each pending step
};

}  // namespace refrain
