#pragma once
// Files of rows in the order of their first events, and their merge.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "src/store_writer.hpp"

namespace refrain::detail {

/// Writes rows whose `first` rises to a temporary file, which merge_rows() reads.
class SortedRowsWriter final : public RowSink {
 public:
  SortedRowsWriter(const std::string& path, std::size_t buffer_bytes) : file_(path, buffer_bytes) {}

  void begin_row(std::int64_t first, std::string_view user, std::int64_t count) override {
    file_.put(first);
    file_.put(count);
    file_.put(static_cast<std::uint64_t>(user.size()));
    file_.write(user.data(), user.size());
  }
  void add(std::span<const std::int32_t> items) override {
    file_.write(items.data(), items.size_bytes());
  }
  void end_row() override {}

  /// Writes the last bytes and returns their number in the file.
  std::int64_t finish() {
    file_.flush();
    return static_cast<std::int64_t>(file_.bytes());
  }

 private:
  BufferedWriter file_;
};

/// Merges files of SortedRowsWriter into `sink` in the order of `first`, and removes them. Calls
/// on_rows(number of rows so far) after every 65,536 rows. Memory: one buffer per file.
void merge_rows(const std::vector<std::string>& paths, std::size_t buffer_bytes, RowSink& sink,
                const std::function<void(std::int64_t)>& on_rows = {});

}  // namespace refrain::detail
