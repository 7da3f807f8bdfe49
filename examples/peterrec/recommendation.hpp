#pragma once
/// From a history to a printed list.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "peterrec/data.hpp"
#include "peterrec/network.hpp"

namespace refrain::peterrec {

struct Recommended {
  std::int32_t id = 0;
  double score = 0;
};

/// The `count` best of one row of scores [1,V], best first, without ids below `first` and the excluded ones.
std::vector<Recommended> best(const Tensor& scores, std::int64_t count, std::int32_t first,
                              std::span<const std::int32_t> excluded);

/// "296  Pulp Fiction (1994)", or the id alone without a title.
std::string described(std::string_view item, const std::optional<Titles>& titles);

/// softmax of one row of scores [1,K].
std::vector<double> probabilities(const Tensor& scores);

}  // namespace refrain::peterrec
