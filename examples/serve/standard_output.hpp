#pragma once
/// Standard output that says why it takes no more.

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <streambuf>

#include "refrain/train/interrupt.hpp"

namespace refrain::serve {

/// Writes to file descriptor 1. When that fails the rest is dropped and the program asked to stop,
/// as a signal does: nobody could read what it still has to say. A closed pipe is such a failure if
/// SIGPIPE is ignored.
class StandardOutput final : public std::streambuf {
 public:
  StandardOutput() { empty(); }

  /// errno of the write that failed; 0: none has.
  int error() const noexcept { return error_; }

 protected:
  int_type overflow(int_type next) override {
    if (!drain()) return traits_type::eof();
    if (!traits_type::eq_int_type(next, traits_type::eof())) sputc(traits_type::to_char_type(next));
    return traits_type::not_eof(next);
  }
  int sync() override { return drain() ? 0 : -1; }

 private:
  void empty() { setp(buffer_.data(), buffer_.data() + buffer_.size()); }

  bool drain() {
    const char* at = pbase();
    while (error_ == 0 && at < pptr()) {
      const ssize_t bytes = ::write(STDOUT_FILENO, at, static_cast<std::size_t>(pptr() - at));
      if (bytes >= 0) {
        at += bytes;
      } else if (errno == EAGAIN) {  // somebody made the pipe non-blocking
        pollfd output{STDOUT_FILENO, POLLOUT, 0};
        ::poll(&output, 1, -1);
      } else if (errno != EINTR) {
        error_ = errno;
        InterruptGuard::request();
      }
    }
    empty();
    return error_ == 0;
  }

  std::array<char, 1 << 16> buffer_{};
  int error_ = 0;
};

}  // namespace refrain::serve
