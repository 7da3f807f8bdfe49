#pragma once
/// How long answers took.

#include <chrono>
#include <string>
#include <vector>

namespace refrain::serve {

using Clock = std::chrono::steady_clock;

/// Times of one kind of message.
class Latency {
 public:
  void add(Clock::duration time) { microseconds_.push_back(std::chrono::duration<float, std::micro>(time).count()); }
  void add(const Latency& other) {
    microseconds_.insert(microseconds_.end(), other.microseconds_.begin(), other.microseconds_.end());
  }
  std::size_t count() const noexcept { return microseconds_.size(); }

  /// "events: 1000, p50 31 us, p99 60 us, largest 2,100 us".
  std::string text(const char* what) const;

 private:
  std::vector<float> microseconds_;
};

}  // namespace refrain::serve
