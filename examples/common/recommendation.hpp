#pragma once
/// From scores to a printed list.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

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

/// log(count + 1/2) of every id [1,V]: scores for who has no known history.
Tensor frequency_scores(const Vocabulary& vocabulary);

/// "296  Pulp Fiction (1994)", or the id alone without a title.
std::string described(std::string_view item, const std::optional<Titles>& titles);

/// A numbered list.
void print_items(const Vocabulary& vocabulary, std::span<const Recommended> list,
                 const std::optional<Titles>& titles);

/// "a, b,c" and "a b c" -> a, b, c; empty entries are left out. A text with a comma is parted at
/// commas only, so that an item's name may have blanks.
std::vector<std::string> split_list(std::string_view text);

}  // namespace refrain::examples
