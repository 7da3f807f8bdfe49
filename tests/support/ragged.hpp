#pragma once
/// Rows of ids and of named items for tests.

#include <cstdint>
#include <string>
#include <vector>

#include "refrain/data/ragged_ids.hpp"
#include "refrain/data/sequences.hpp"

namespace refrain::test {

using Ids = std::vector<std::int32_t>;

inline RaggedIds ragged(const std::vector<Ids>& rows) {
  RaggedIds ids;
  for (const Ids& row : rows) ids.push_back(row);
  return ids;
}

inline Sequences sequences_of(const std::vector<std::vector<std::string>>& rows) {
  Sequences sequences;
  for (const auto& row : rows) {
    for (const std::string& item : row) sequences.rows.add(sequences.items.intern(item));
    sequences.rows.end_row();
  }
  return sequences;
}

}  // namespace refrain::test
