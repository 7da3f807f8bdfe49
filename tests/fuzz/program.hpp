#pragma once
/// The common part of all fuzz targets. A target is a file <name>_fuzz.cpp that defines try_input()
/// and seeds().

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "refrain/core/error.hpp"

namespace refrain::fuzz {

/// Feeds one input to the parser and checks its invariants; an exception that escapes and a failed
/// check are findings.
void try_input(std::string_view input);

/// Initial inputs: files of the library's own writers, and small texts.
std::vector<std::string> seeds();

/// Writes `text` to a file of this process, in memory where possible. Returns its path, which ends
/// with `name` and is the same for the same name.
const std::string& file_with(const std::string& name, std::string_view text);

/// The bytes of a file.
std::string contents_of(const std::string& path);

/// UTF-8 by its definition: decodes each character and compares its length with the shortest one.
bool is_utf8(std::string_view text);

/// Ends the program with a finding unless the condition holds.
inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "FUZZ: violated: %s\n", what);
  std::abort();
}

/// Runs parse(); the only exception it may throw is a DataError that names its file. True when it
/// throws nothing.
template <class Parse>
bool accepted(const std::string& path, Parse&& parse) {
  try {
    parse();
    return true;
  } catch (const DataError& error) {
    require(error.file() == path, "a DataError names the file that was read");
    require(std::string_view(error.what()).starts_with(path), "the message begins with the file");
    require(error.line() >= 0, "a line is not negative");
    return false;
  }
}

/// Takes choices off the front of an input.
class Choices {
 public:
  explicit Choices(std::string_view input) : rest_(input) {}
  unsigned next() {
    if (rest_.empty()) return 0;
    const unsigned byte = static_cast<unsigned char>(rest_.front());
    rest_.remove_prefix(1);
    return byte;
  }
  std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
};

}  // namespace refrain::fuzz
