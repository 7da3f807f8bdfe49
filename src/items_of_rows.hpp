#pragma once
// Checks of item numbers in rows, which may come from a file that another process changes.

#include <cstdint>

#include "refrain/data/sequences.hpp"

namespace refrain::detail {

[[noreturn]] inline void throw_no_item(const Sequences& sequences, std::int32_t item) {
  const std::string text = concat("expected item numbers from 0 to ", sequences.items.size() - 1,
                                  " in the rows, got ", item);
  if (sequences.rows.file() != nullptr) throw DataError(sequences.rows.file()->path(), 0, text);
  throw OptionError(text);
}

/// Throws DataError or OptionError unless `item` is a number of `sequences.items`.
inline void expect_item(const Sequences& sequences, std::int32_t item) {
  if (item < 0 || item >= sequences.items.size()) throw_no_item(sequences, item);
}

}  // namespace refrain::detail
