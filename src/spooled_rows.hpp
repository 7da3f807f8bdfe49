#pragma once
// Rows written to a temporary file and read as views of it.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "refrain/data/ragged_ids.hpp"
#include "src/buffered_file.hpp"

namespace refrain::detail {

/// Takes the place of a RaggedIds that grows: memory holds 8 bytes per row. Throws DataError when
/// the file cannot be written.
class SpooledRows {
 public:
  SpooledRows(const std::string& folder, std::int64_t rows)
      : file_(BufferedWriter::unnamed(folder, std::size_t{1} << 20)) {
    ends_.reserve(static_cast<std::size_t>(rows));
  }

  void add(std::int32_t id) {
    file_.put(id);
    ++count_;
  }
  void end_row() { ends_.push_back(count_); }

  RaggedIds finish() {
    const int descriptor = file_.release();
    return {std::make_shared<const MappedIds>(file_.path(), descriptor, count_), std::move(ends_)};
  }

 private:
  BufferedWriter file_;
  std::int64_t count_ = 0;
  std::vector<std::int64_t> ends_;
};

}  // namespace refrain::detail
