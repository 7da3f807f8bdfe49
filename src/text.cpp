#include "refrain/core/text.hpp"

#include "refrain/core/error.hpp"

namespace refrain {

std::string with_commas(std::int64_t number) {
  const std::string digits = std::to_string(number);
  std::string text;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > (number < 0 ? 1u : 0u) && (digits.size() - i) % 3 == 0) text.push_back(',');
    text.push_back(digits[i]);
  }
  return text;
}

std::string counted(std::int64_t count, const char* noun) {
  return detail::concat(with_commas(count), " ", noun, count == 1 ? "" : "s");
}

}  // namespace refrain
