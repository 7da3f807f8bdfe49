#pragma once
/// Interned strings: dense numbers for original ids.

#include <cstdint>
#include <string_view>
#include <vector>

#include "refrain/core/export.hpp"

namespace refrain::detail {

/// Distinct strings, numbered from 0 in the order of their first appearance.
///
/// Memory: the bytes of the strings, 8 bytes for the end of each string, and 12 to 24 bytes for its
/// hash slot.
class REFRAIN_API StringTable {
 public:
  /// Result of find() for a string that is not in the table.
  static constexpr std::int32_t absent = -1;

  /// The number of `text`, which is added when it is new. Throws Error beyond 2^31 - 1 strings.
  std::int32_t intern(std::string_view text);

  /// The number of `text`, or absent.
  std::int32_t find(std::string_view text) const noexcept;

  /// The string with this number; valid until the next intern(). Throws OptionError unless 0 <=
  /// index < size().
  std::string_view operator[](std::int32_t index) const;

  std::int32_t size() const noexcept { return static_cast<std::int32_t>(ends_.size()); }
  bool empty() const noexcept { return ends_.empty(); }
  /// Bytes of memory of the table.
  std::int64_t bytes() const noexcept {
    return static_cast<std::int64_t>(text_.capacity() + ends_.capacity() * sizeof ends_[0] +
                                     slots_.capacity() * sizeof slots_[0]);
  }

 private:
  struct Slot {
    std::uint32_t hash = 0;
    std::int32_t index = absent;
  };

  std::string_view at(std::int32_t index) const noexcept;
  std::size_t slot_of(std::string_view text, std::uint32_t hash) const noexcept;
  void grow();

  std::vector<char> text_;
  std::vector<std::uint64_t> ends_;
  std::vector<Slot> slots_;  ///< open addressing, a power of two long, at most two thirds full
};

}  // namespace refrain::detail
