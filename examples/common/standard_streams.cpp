#include "common/standard_streams.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace refrain::examples {
namespace {

int flush_error = 0;  // errno of the first flush that failed
bool is_muted = false;

}  // namespace

void open_standard_streams() {
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    // The lowest free descriptor, which open() returns, is this one: those below it are open.
    if (::fcntl(descriptor, F_GETFD) < 0 && errno == EBADF) (void)!::open("/dev/null", O_RDWR);
  }
}

void mute_standard_streams() noexcept {
  is_muted = true;
  const int nothing = ::open("/dev/null", O_WRONLY);
  if (nothing < 0) return;
  (void)!::dup2(nothing, STDOUT_FILENO);
  ::close(nothing);
}

void say(std::string_view text) noexcept {
  if (is_muted) return;
  (void)!std::fwrite(text.data(), 1, text.size(), stderr);
}

void flush_output() noexcept {
  if (std::fflush(stdout) != 0 && flush_error == 0) flush_error = errno;
}

bool finish_output(const char* program, int error) {
  flush_output();
  if (std::ferror(stdout) == 0) return true;
  if (error == 0) error = flush_error;
  say("{}: standard output cannot be written{}{}; some of the output is lost\n", program,
      error == 0 ? "" : ": ", error == 0 ? "" : std::strerror(error));
  return false;
}

}  // namespace refrain::examples
