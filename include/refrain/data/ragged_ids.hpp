#pragma once
/// Lists of ids of unequal length in one array.

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "refrain/core/error.hpp"
#include "refrain/core/export.hpp"
#include "refrain/data/detail/mapped_ids.hpp"

namespace refrain {

/// Maximum number of rows or events.
inline constexpr std::int64_t max_rows = 0xFFFF'FFFF;

/// Rows of i32 ids: 4 bytes per id and 8 bytes per row in memory. Rows of a mapped file are views:
/// no bytes per id, and 8 or 16 bytes per row.
class REFRAIN_API RaggedIds {
 public:
  RaggedIds() = default;
  /// Rows that are views of a file's ids end to end; `ends` is the end of each row. Throws
  /// OptionError unless the ends do not fall and the last is the number of ids.
  RaggedIds(std::shared_ptr<const detail::MappedIds> file, std::vector<std::int64_t> ends);

  std::int64_t rows() const noexcept { return static_cast<std::int64_t>(ends_.size()); }
  bool empty() const noexcept { return ends_.empty(); }

  /// Number of ids in all rows.
  std::int64_t total() const noexcept {
    return file_ != nullptr ? viewed_ : static_cast<std::int64_t>(values_.size());
  }

  /// One row; valid until the object is changed. Throws OptionError when the row does not exist and
  /// DataError when the mapped file has shrunk.
  std::span<const std::int32_t> operator[](std::int64_t row) const {
    if (row < 0 || row >= rows())
      throw OptionError(detail::concat("RaggedIds: expected 0 <= row < ", rows(), ", got ", row));
    const std::size_t at = static_cast<std::size_t>(row);
    const std::size_t begin = begin_of(at);
    const std::size_t length = static_cast<std::size_t>(ends_[at]) - begin;
    if (file_ == nullptr) return std::span(values_).subspan(begin, length);
    file_->expect_intact();
    return file_->ids().subspan(begin, length);
  }

  /// Calls function(id) for the ids of all rows in order. Throws DataError when the mapped file has
  /// shrunk.
  template <class Function>
  void for_each(Function&& function) const {
    for (std::int64_t row = 0; row < rows(); ++row) {
      for (const std::int32_t id : (*this)[row]) function(id);
    }
    expect_intact();
  }

  /// Throws DataError when the rows are views of a mapped file whose length has changed.
  void expect_intact() const {
    if (file_ != nullptr) file_->expect_length();
  }

  void push_back(std::span<const std::int32_t> row) {
    if (file_ != nullptr) copy_views();
    values_.insert(values_.end(), row.begin(), row.end());
    end_row();
  }

  /// Appends `count` ids of a row of `from`, starting at its id `begin`. The part is a view if
  /// `from` has views and this object is empty or has views of the same file; otherwise a copy.
  /// Throws OptionError when the part does not exist.
  void push_part(const RaggedIds& from, std::int64_t row, std::size_t begin, std::size_t count);

  /// Appends a row of `from`, as push_part() does.
  void push_row(const RaggedIds& from, std::int64_t row) {
    push_part(from, row, 0, from[row].size());
  }

  /// Adds one id to the row that the next end_row() closes.
  void add(std::int32_t id) {
    if (file_ != nullptr) copy_views();
    values_.push_back(id);
  }
  /// Closes the current row.
  void end_row() {
    if (file_ != nullptr) copy_views();
    ends_.push_back(static_cast<std::int64_t>(values_.size()));
  }

  /// Throws OptionError for negative numbers.
  void reserve(std::int64_t rows, std::int64_t ids) {
    if (rows < 0 || ids < 0)
      throw OptionError(detail::concat("RaggedIds::reserve: expected rows and ids >= 0, got ", rows,
                                       " and ", ids));
    ends_.reserve(static_cast<std::size_t>(rows));
    values_.reserve(static_cast<std::size_t>(ids));
  }

  /// The file that the rows are views of; null when they are in memory.
  const detail::MappedIds* file() const noexcept { return file_.get(); }

  /// True when both have equal rows.
  friend REFRAIN_API bool operator==(const RaggedIds& a, const RaggedIds& b);

 private:
  std::size_t begin_of(std::size_t row) const noexcept {
    if (!begins_.empty()) return static_cast<std::size_t>(begins_[row]);
    return row == 0 ? 0 : static_cast<std::size_t>(ends_[row - 1]);
  }
  void copy_views();

  std::vector<std::int32_t> values_;  ///< empty for views
  std::vector<std::int64_t> ends_;
  std::vector<std::int64_t> begins_;  ///< of views; empty when each row begins at the end before it
  std::shared_ptr<const detail::MappedIds> file_;
  std::int64_t viewed_ = 0;  ///< number of ids in views
};

}  // namespace refrain
