#pragma once
/// Lists of ids of unequal length in one array.

#include <cstdint>
#include <span>
#include <vector>

#include "refrain/core/error.hpp"

namespace refrain {

/// Maximum number of rows or events.
inline constexpr std::int64_t max_rows = 0xFFFF'FFFF;

/// Rows of i32 ids: 4 bytes per id and 8 bytes per row.
class RaggedIds {
 public:
  std::int64_t rows() const noexcept { return static_cast<std::int64_t>(ends_.size()); }
  bool empty() const noexcept { return ends_.empty(); }

  /// Number of ids in all rows.
  std::int64_t total() const noexcept { return static_cast<std::int64_t>(values_.size()); }
  std::span<const std::int32_t> values() const noexcept { return values_; }
  std::span<std::int32_t> values() noexcept { return values_; }

  /// One row; valid until the object is changed. Throws OptionError when the row does not exist.
  std::span<const std::int32_t> operator[](std::int64_t row) const {
    if (row < 0 || row >= rows())
      throw OptionError(detail::concat("RaggedIds: expected 0 <= row < ", rows(), ", got ", row));
    const std::size_t at = static_cast<std::size_t>(row);
    const std::size_t begin = at == 0 ? 0 : static_cast<std::size_t>(ends_[at - 1]);
    return std::span(values_).subspan(begin, static_cast<std::size_t>(ends_[at]) - begin);
  }

  void push_back(std::span<const std::int32_t> row) {
    values_.insert(values_.end(), row.begin(), row.end());
    end_row();
  }

  /// Adds one id to the row that the next end_row() closes.
  void add(std::int32_t id) { values_.push_back(id); }
  /// Closes the current row.
  void end_row() { ends_.push_back(static_cast<std::int64_t>(values_.size())); }

  /// Throws OptionError for negative numbers.
  void reserve(std::int64_t rows, std::int64_t ids) {
    if (rows < 0 || ids < 0)
      throw OptionError(detail::concat("RaggedIds::reserve: expected rows and ids >= 0, got ", rows,
                                       " and ", ids));
    ends_.reserve(static_cast<std::size_t>(rows));
    values_.reserve(static_cast<std::size_t>(ids));
  }

  friend bool operator==(const RaggedIds&, const RaggedIds&) = default;

 private:
  std::vector<std::int32_t> values_;
  std::vector<std::int64_t> ends_;
};

}  // namespace refrain
