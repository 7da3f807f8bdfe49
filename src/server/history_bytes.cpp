#include "src/server/history_bytes.hpp"

namespace refrain::detail {
namespace {

constexpr unsigned digit_bits = 7;
constexpr unsigned more = 1U << digit_bits;

void put(std::string& bytes, std::int64_t number) {
  auto rest = static_cast<std::uint64_t>(number);
  for (; rest >= more; rest >>= digit_bits) bytes += static_cast<char>(rest % more + more);
  bytes += static_cast<char>(rest);
}

/// Takes a number from the beginning of the bytes.
std::optional<std::int64_t> take(std::string_view& bytes) {
  std::uint64_t number = 0;
  for (unsigned shift = 0; shift < 63 && !bytes.empty(); shift += digit_bits) {
    const auto byte = static_cast<unsigned char>(bytes.front());
    bytes.remove_prefix(1);
    number += std::uint64_t{byte % more} << shift;
    if (byte < more) return static_cast<std::int64_t>(number);
  }
  return std::nullopt;
}

}  // namespace

std::string history_bytes(const StoredHistory& history) {
  std::string bytes;
  put(bytes, history.left_out);
  std::int64_t before = history.left_out;
  for (const UserEvent& event : history.events) {
    put(bytes, event.position - before);
    put(bytes, event.item);
    before = event.position;
  }
  return bytes;
}

std::optional<StoredHistory> parse_history(std::string_view bytes) {
  const auto left_out = take(bytes);
  if (!left_out) return std::nullopt;
  StoredHistory history{.left_out = *left_out, .events = {}};
  std::int64_t position = *left_out;
  while (!bytes.empty()) {
    const auto difference = take(bytes);
    const auto item = take(bytes);
    if (!difference || !item || *difference == 0 ||
        __builtin_add_overflow(position, *difference, &position))
      return std::nullopt;
    history.events.push_back({position, *item});
  }
  return history;
}

}  // namespace refrain::detail
