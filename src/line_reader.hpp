#pragma once
/// Lines of a text file, read in blocks.

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "refrain/data/readers.hpp"

namespace refrain::detail {

/// One line without its line end. The characters belong to the reader's block, may be changed in
/// place, and are valid until the next line is read.
struct Line {
  char* begin = nullptr;
  char* end = nullptr;
  std::int64_t number = 0;  ///< from 1
  bool terminated = true;   ///< false for a last line without an end
  std::string problem{};    ///< the reason why the text is unusable (too long, binary), or empty

  std::string_view text() const noexcept { return {begin, static_cast<std::size_t>(end - begin)}; }
};

/// Reads lines through one block: 1 MiB or twice the longest allowed line, and never more than the
/// file.
class LineReader {
 public:
  /// Limit of max_line_bytes, and of the length of a skipped line.
  static constexpr std::int64_t line_limit_bytes = std::int64_t{1} << 30;

  /// Throws DataError when the file cannot be opened, OptionError unless 1 <= max_line_bytes <=
  /// line_limit_bytes.
  LineReader(const std::string& path, std::int64_t max_line_bytes);
  /// Reads from an open stream, whose first bytes have been read into `start`. `name` is for
  /// messages.
  LineReader(std::string name, std::FILE* stream, std::string_view start,
             std::int64_t max_line_bytes);

  /// Reads the next line; false at the end of the file. A line that is too long is returned with a
  /// problem before its end is read, and the next call skips its rest. Throws DataError when
  /// reading fails and when a line does not end within line_limit_bytes.
  bool next(Line& line);

  const std::string& path() const noexcept { return path_; }
  /// Length of the file in bytes; 0 when it has none (a pipe).
  std::int64_t file_bytes() const noexcept { return file_bytes_; }
  /// Bytes of the lines so far, with their ends.
  std::int64_t read_bytes() const noexcept {
    return refilled_bytes_ - static_cast<std::int64_t>(end_ - begin_);
  }

 private:
  void refill();
  void skip_rest();
  bool too_long(Line& line);

  struct Close {
    void operator()(std::FILE* file) const noexcept { std::fclose(file); }
  };
  std::string path_;
  std::unique_ptr<std::FILE, Close> file_;
  std::int64_t file_bytes_ = 0;
  std::size_t max_line_bytes_;
  std::vector<char> block_;
  std::size_t begin_ = 0;    ///< the next line starts here
  std::size_t scanned_ = 0;  ///< there is no line end between begin_ and this
  std::size_t end_ = 0;
  std::int64_t refilled_bytes_ = 0;  ///< bytes of the file that have been in the block
  std::int64_t line_number_ = 0;
  bool at_end_ = false;
  bool is_within_line_ = false;  ///< begin_ is within a line that is too long
};

/// Counts lines and tolerates as many malformed lines as the options allow.
class LineGuard {
 public:
  /// `read_as` names the format in messages about malformed lines; may be empty.
  LineGuard(const std::string& path, const ReadOptions& options, std::string read_as);

  /// Records a malformed line. Throws DataError when the options allow no more.
  void bad(const Line& line, const std::string& reason);

  ReadReport& report() noexcept { return *report_; }

 private:
  const std::string& path_;
  std::int64_t allowed_;
  std::string read_as_;
  ReadReport own_;
  ReadReport* report_;
};

/// Calls accept(line) for every line that is neither blank nor binary. accept returns an empty
/// string, or the reason why the line is malformed, in which case it has changed nothing. Throws
/// DataError for an empty file.
template <class Accept>
void for_each_line(LineReader& reader, const ReadOptions& options, std::string read_as,
                   Accept&& accept) {
  LineGuard guard(reader.path(), options, std::move(read_as));
  Line line;
  while (reader.next(line)) {
    ++guard.report().lines;
    if (!line.problem.empty()) {
      guard.bad(line, line.problem);
    } else if (line.text().find_first_not_of(" \t") == std::string_view::npos) {
      ++guard.report().blank_lines;
    } else if (const std::string reason = accept(line); !reason.empty()) {
      guard.bad(line, reason);
    }
  }
  if (guard.report().lines == guard.report().blank_lines)
    throw DataError(reader.path(), 0, "the file is empty");
}

}  // namespace refrain::detail
