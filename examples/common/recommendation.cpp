#include "common/recommendation.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
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

Tensor frequency_scores(const Vocabulary& vocabulary) {
  Tensor scores({1, vocabulary.size()}, DType::f32);
  for (std::int32_t id = 0; id < vocabulary.size(); ++id) {
    scores.data<float>()[id] = std::log(static_cast<float>(vocabulary.count(id)) + 0.5f);
  }
  return scores;
}

std::string described(std::string_view item, const std::optional<Titles>& titles) {
  if (titles) {
    if (const auto title = titles->find(item)) return fmt::format("{:<8} {}", item, *title);
  }
  return std::string(item);
}

void print_items(const Vocabulary& vocabulary, std::span<const Recommended> list,
                 const std::optional<Titles>& titles) {
  int place = 0;
  for (const Recommended& item : list) {
    fmt::print("  {:>3}. {:<60} {:9.4f}\n", ++place, described(vocabulary.name(item.id), titles),
               item.score);
  }
}

std::vector<std::string> split_list(std::string_view text) {
  constexpr std::string_view blanks = " \t\r";
  const std::string_view separators = text.find(',') == std::string_view::npos ? blanks : ",";
  std::vector<std::string> items;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find_first_of(separators), text.size());
    const std::string_view item = text.substr(0, end);
    const std::size_t first = item.find_first_not_of(blanks);
    if (first != std::string_view::npos)
      items.emplace_back(item.substr(first, item.find_last_not_of(blanks) - first + 1));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return items;
}

}  // namespace refrain::examples
