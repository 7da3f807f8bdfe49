#pragma once
/// Rows of ids for tests.

#include <cstdint>
#include <vector>

#include "refrain/data/ragged_ids.hpp"

namespace refrain::test {

using Ids = std::vector<std::int32_t>;

inline RaggedIds ragged(const std::vector<Ids>& rows) {
  RaggedIds ids;
  for (const Ids& row : rows) ids.push_back(row);
  return ids;
}

}  // namespace refrain::test
