#include "refrain/data/detail/string_table.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

#include "refrain/core/error.hpp"

namespace refrain::detail {
namespace {

/// Hashes eight bytes at a time, which takes one round for most ids.
std::uint32_t hash_of(std::string_view text) noexcept {
  constexpr std::uint64_t odd = 0x9E3779B97F4A7C15ull;
  std::uint64_t hash = odd ^ text.size();
  while (!text.empty()) {
    std::uint64_t word = 0;
    const std::size_t bytes = std::min(text.size(), sizeof word);
    std::memcpy(&word, text.data(), bytes);
    text.remove_prefix(bytes);
    hash = (hash ^ word) * odd;
    hash ^= hash >> 29;
  }
  return static_cast<std::uint32_t>((hash * odd) >> 32);
}

}  // namespace

std::string_view StringTable::at(std::int32_t index) const noexcept {
  const std::size_t i = static_cast<std::size_t>(index);
  const std::uint64_t begin = i == 0 ? 0 : ends_[i - 1];
  return {text_.data() + begin, static_cast<std::size_t>(ends_[i] - begin)};
}

/// The slot that holds `text`, or the empty slot for it.
std::size_t StringTable::slot_of(std::string_view text, std::uint32_t hash) const noexcept {
  const std::size_t last = slots_.size() - 1;
  std::size_t slot = hash & last;
  while (slots_[slot].index != absent &&
         (slots_[slot].hash != hash || at(slots_[slot].index) != text))
    slot = (slot + 1) & last;
  return slot;
}

void StringTable::grow() {
  std::vector<Slot> old(slots_.empty() ? 16 : slots_.size() * 2);
  old.swap(slots_);
  const std::size_t last = slots_.size() - 1;
  for (const Slot& entry : old) {
    if (entry.index == absent) continue;
    std::size_t slot = entry.hash & last;
    while (slots_[slot].index != absent) slot = (slot + 1) & last;
    slots_[slot] = entry;
  }
}

std::int32_t StringTable::intern(std::string_view text) {
  if ((ends_.size() + 1) * 3 > slots_.size() * 2) grow();
  const std::uint32_t hash = hash_of(text);
  Slot& slot = slots_[slot_of(text, hash)];
  if (slot.index == absent) {
    if (ends_.size() >= static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) {
      throw Error("StringTable: expected at most 2^31 - 1 distinct strings, got one more");
    }
    text_.insert(text_.end(), text.begin(), text.end());
    ends_.push_back(text_.size());
    slot = {hash, size() - 1};
  }
  return slot.index;
}

std::int32_t StringTable::find(std::string_view text) const noexcept {
  if (slots_.empty()) return absent;
  return slots_[slot_of(text, hash_of(text))].index;
}

std::string_view StringTable::operator[](std::int32_t index) const {
  if (index < 0 || index >= size())
    throw OptionError(
        detail::concat("StringTable: expected a number from 0 to ", size() - 1, ", got ", index));
  return at(index);
}

}  // namespace refrain::detail
