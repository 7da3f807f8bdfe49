#pragma once
/// Standard input that ends when the program has to stop.

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <streambuf>

#include "refrain/train/interrupt.hpp"

namespace refrain::serve {

/// Reads file descriptor 0. During the lifetime of an InterruptGuard its signals end the input
/// after the lines that were read; std::cin would wait for more input.
class StandardInput final : public std::streambuf {
 protected:
  int_type underflow() override {
    while (!InterruptGuard::requested()) {
      // A signal that another thread receives does not interrupt the wait of this thread.
      constexpr int patience_ms = 100;
      pollfd input{STDIN_FILENO, POLLIN, 0};
      const int ready = ::poll(&input, 1, patience_ms);
      if (ready == 0 || (ready < 0 && errno == EINTR)) continue;
      const ssize_t bytes = ::read(STDIN_FILENO, buffer_.data(), buffer_.size());
      if (bytes < 0 && errno == EINTR) continue;
      if (bytes <= 0) break;
      setg(buffer_.data(), buffer_.data(), buffer_.data() + bytes);
      return traits_type::to_int_type(buffer_.front());
    }
    return traits_type::eof();
  }

 private:
  std::array<char, 1 << 16> buffer_{};
};

}  // namespace refrain::serve
