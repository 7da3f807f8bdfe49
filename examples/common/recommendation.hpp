#pragma once
/// From scores to a printed list.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/answers.hpp"
#include "refrain/core/tensor.hpp"
#include "refrain/data/readers.hpp"
#include "refrain/data/vocabulary.hpp"

namespace refrain::examples {

struct Recommended {
  std::int32_t id = 0;
  double score = 0;
};

/// The `count` best of one row of scores [1,V], best first, without ids below `first` and the
/// excluded ones.
std::vector<Recommended> best(const Tensor& scores, std::int64_t count, std::int32_t first,
                              std::span<const std::int32_t> excluded);

/// A numbered list.
void print_items(const Vocabulary& vocabulary, std::span<const Recommended> list,
                 const std::optional<Titles>& titles);

}  // namespace refrain::examples
