#include "common/recommendation.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <limits>

#include "refrain/ops/top_k.hpp"

namespace refrain::examples {

std::vector<Recommended> best(const Tensor& scores, std::int64_t count, std::int32_t first,
                              std::span<const std::int32_t> excluded) {
  Tensor open = scores.clone();
  const std::span<float> values = open.span<float>();
  constexpr float out = -std::numeric_limits<float>::infinity();
  for (std::int32_t id = 0; id < first; ++id) values[static_cast<std::size_t>(id)] = out;
  for (const std::int32_t id : excluded) {
    if (id >= 0 && static_cast<std::size_t>(id) < values.size())
      values[static_cast<std::size_t>(id)] = out;
  }
  const TopKResult top = top_k(open, std::min(count, open.numel()));
  std::vector<Recommended> found;
  for (std::int64_t i = 0; i < top.values.numel(); ++i) {
    if (top.values.data<float>()[i] == out) break;
    found.push_back({top.indices.data<std::int32_t>()[i], top.values.data<float>()[i]});
  }
  return found;
}

void print_items(const Vocabulary& vocabulary, std::span<const Recommended> list,
                 const std::optional<Titles>& titles) {
  int place = 0;
  for (const Recommended& item : list) {
    fmt::print("  {:>3}. {:<60} {:9.4f}\n", ++place, described(vocabulary.name(item.id), titles),
               item.score);
  }
}

}  // namespace refrain::examples
