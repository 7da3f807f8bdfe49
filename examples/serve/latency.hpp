#pragma once
/// Latency statistics.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace refrain::serve {

using Clock = std::chrono::steady_clock;

/// Counts messages of one kind and optionally their latencies, in bins whose edges grow by 1 % from
/// 100 ns to 100 s, so that the size is constant.
class Latency {
 public:
  Latency() = default;
  /// Keeps latencies, or only counts messages.
  explicit Latency(bool keeps_times) : bins_(keeps_times ? bins : 0) {}

  void add(Clock::duration time) {
    ++count_;
    if (bins_.empty()) return;
    const double us = std::chrono::duration<double, std::micro>(time).count();
    largest_us_ = std::max(largest_us_, us);
    ++bins_[bin_of(us)];
  }
  /// Adds the counts of `other`, which must keep latencies if this one does.
  void add(const Latency& other) {
    count_ += other.count_;
    largest_us_ = std::max(largest_us_, other.largest_us_);
    for (std::size_t i = 0; i < bins_.size(); ++i) bins_[i] += other.bins_[i];
  }

  std::int64_t count() const noexcept { return count_; }
  double largest_us() const noexcept { return largest_us_; }

  /// The smallest latency that `percent` of the messages (1 to 100) did not exceed, with an error
  /// of 0.5 %: the middle of its bin. Latencies below 100 ns count as 100 ns, those above 100 s as
  /// the largest. 0 without messages or latencies.
  double percentile_us(std::int64_t percent) const {
    std::int64_t left = (count_ * percent + 99) / 100;
    for (std::size_t i = 0; i < bins_.size(); ++i) {
      left -= bins_[i];
      if (left > 0) continue;
      if (i + 1 == bins_.size()) break;
      return std::min(
          largest_us_,
          i == 0 ? smallest_us : smallest_us * std::pow(growth, static_cast<double>(i) - 0.5));
    }
    return largest_us_;
  }

 private:
  static constexpr double smallest_us = 0.1;
  static constexpr double growth = 1.01;
  // Bin i > 0 contains the latencies from smallest * growth^(i - 1) to smallest * growth^i; ln 10^9
  // / ln 1.01 = 2082.7 bins reach 100 s. Bin 0 contains shorter ones, the last bin longer ones.
  static constexpr std::size_t bins = 1 + 2083 + 1;

  static std::size_t bin_of(double us) {
    if (!(us >= smallest_us)) return 0;
    static const double per_bin = 1 / std::log(growth);
    return std::min(bins - 1, 1 + static_cast<std::size_t>(std::log(us / smallest_us) * per_bin));
  }

  std::int64_t count_ = 0;
  double largest_us_ = 0;
  std::vector<std::int64_t> bins_;  ///< empty: only counts messages
};

}  // namespace refrain::serve
