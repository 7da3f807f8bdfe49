#pragma once
/// Standard input, output and error of a program.

#include <fmt/core.h>

#include <string_view>
#include <utility>

namespace refrain::examples {

/// Opens /dev/null in place of each standard descriptor that is closed. Without it the first file
/// that a program opens becomes its standard output.
void open_standard_streams();

/// Writes to standard error. A failure is ignored: no other place is left to report it.
void say(std::string_view text) noexcept;

template <class... Values>
void say(fmt::format_string<Values...> format, Values&&... values) {
  say(std::string_view(fmt::format(format, std::forward<Values>(values)...)));
}

/// Hands what was printed so far to the reader of standard output. finish_output() reports a
/// failure.
void flush_output() noexcept;

/// Flushes standard output at the end of a program. Returns false, with the reason on standard
/// error, when some of the output was lost. `error`: errno of a failure that was noticed before.
bool finish_output(const char* program, int error = 0);

}  // namespace refrain::examples
