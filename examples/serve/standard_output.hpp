#pragma once
/// Standard output with reported write errors.

#include <limits.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <streambuf>

#include "refrain/train/interrupt.hpp"

namespace refrain::serve {

/// Writes to file descriptor 1. When a write fails, the remaining output is dropped and the program
/// stops as after a signal, because its answers cannot be read. If SIGPIPE is ignored, a closed
/// pipe makes a write fail, too.
///
/// A full pipe blocks the program until its reader reads. After a signal
/// (InterruptGuard::requested()) the program waits for the reader at most one second and then drops
/// the remaining output.
class StandardOutput final : public std::streambuf {
 public:
  StandardOutput() { empty(); }

  /// errno of the failed write; 0 without a failure.
  int error() const noexcept { return error_; }
  /// True when answers were dropped after a signal because they were not read.
  bool is_abandoned() const noexcept { return waited_ms_ >= grace_ms; }

 protected:
  int_type overflow(int_type next) override {
    if (!drain()) return traits_type::eof();
    if (!traits_type::eq_int_type(next, traits_type::eof())) sputc(traits_type::to_char_type(next));
    return traits_type::not_eof(next);
  }
  int sync() override { return drain() ? 0 : -1; }

 private:
  static constexpr int poll_ms = 100;
  static constexpr int grace_ms = 1000;

  bool is_failed() const noexcept { return error_ != 0 || is_abandoned(); }

  void empty() { setp(buffer_.data(), buffer_.data() + buffer_.size()); }

  bool drain() {
    const char* at = pbase();
    while (!is_failed() && at < pptr()) {
      if (!wait_for_room()) continue;
      // A descriptor that poll() reports as writable accepts this many bytes without blocking.
      const std::size_t piece =
          std::min<std::size_t>(PIPE_BUF, static_cast<std::size_t>(pptr() - at));
      const ssize_t bytes = ::write(STDOUT_FILENO, at, piece);
      if (bytes >= 0) {
        at += bytes;
      } else if (errno != EINTR && errno != EAGAIN) {
        error_ = errno;
        InterruptGuard::request();
      }
    }
    empty();
    return !is_failed();
  }

  /// Returns false when a write would block: the reader accepted nothing within poll_ms, or a
  /// signal interrupted the wait.
  bool wait_for_room() {
    pollfd output{STDOUT_FILENO, POLLOUT, 0};
    const int ready = ::poll(&output, 1, poll_ms);
    if (ready == 0 && InterruptGuard::requested()) waited_ms_ += poll_ms;
    return ready > 0 || (ready < 0 && errno != EINTR);  // write() reports the error
  }

  std::array<char, 1 << 16> buffer_{};
  int error_ = 0;
  int waited_ms_ = 0;  ///< after a signal
};

}  // namespace refrain::serve
