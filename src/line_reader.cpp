#include "line_reader.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

namespace refrain::detail {

LineReader::LineReader(const std::string& path, std::int64_t max_line_bytes) : path_(path) {
  if (max_line_bytes < 1 || max_line_bytes > largest_line_bytes) {
    throw OptionError(concat("reader: expected max_line_bytes from 1 to ", largest_line_bytes,
                             ", got ", max_line_bytes));
  }
  std::error_code status;
  if (std::filesystem::is_directory(path, status))
    throw DataError(path, 0, "is a directory, expected a file");
  do {
    errno = 0;
    file_.reset(std::fopen(path.c_str(), "rb"));
  } while (file_ == nullptr && errno == EINTR);  // a pipe waits for its writer
  if (file_ == nullptr)
    throw DataError(path, 0, concat("cannot be opened: ", std::strerror(errno)));
  std::setvbuf(file_.get(), nullptr, _IONBF, 0);
  if (std::filesystem::is_regular_file(path, status))
    file_bytes_ = static_cast<std::int64_t>(std::filesystem::file_size(path, status));
  max_line_bytes_ = static_cast<std::size_t>(max_line_bytes);
  const std::size_t block_bytes = std::max<std::size_t>(std::size_t{1} << 20, 2 * max_line_bytes_);
  const std::size_t whole_file_bytes =
      static_cast<std::size_t>(file_bytes_) + 1;  // one more, to see its end
  block_.resize(file_bytes_ > 0 ? std::min(block_bytes, whole_file_bytes) : block_bytes);
}

/// Moves what is left of the block to its front and fills the rest from the file.
void LineReader::refill() {
  std::memmove(block_.data(), block_.data() + begin_, end_ - begin_);
  scanned_ -= begin_;
  end_ -= begin_;
  begin_ = 0;
  std::size_t got = 0;
  for (bool interrupted = true; interrupted;) {
    errno = 0;
    got = std::fread(block_.data() + end_, 1, block_.size() - end_, file_.get());
    interrupted = got == 0 && std::ferror(file_.get()) != 0 && errno == EINTR;
    if (interrupted) std::clearerr(file_.get());
  }
  if (got == 0) {
    if (std::ferror(file_.get()) != 0)
      throw DataError(path_, line_number_ + 1, concat("cannot be read: ", std::strerror(errno)));
    at_end_ = true;
  }
  end_ += got;
}

bool LineReader::next(Line& line) {
  bool too_long = false;
  for (;;) {
    const char* const found =
        static_cast<const char*>(std::memchr(block_.data() + scanned_, '\n', end_ - scanned_));
    const std::size_t stop =
        found != nullptr ? static_cast<std::size_t>(found - block_.data()) : end_;
    too_long = too_long || stop - begin_ > max_line_bytes_;
    if (found == nullptr && !at_end_) {
      scanned_ = end_;
      if (too_long) begin_ = end_;  // only its end matters now: the block need not hold it
      refill();
      continue;
    }
    if (found == nullptr && begin_ == end_ && !too_long) return false;
    line.begin = block_.data() + begin_;
    line.end = block_.data() + stop;
    line.number = ++line_number_;
    line.terminated = found != nullptr;
    begin_ = scanned_ = std::min(stop + 1, end_);
    if (line.number == 1 && line.text().starts_with("\xEF\xBB\xBF")) line.begin += 3;
    if (line.end != line.begin && line.end[-1] == '\r') --line.end;
    line.problem = nullptr;
    if (too_long) {
      line.problem = "the line is longer than max_line_bytes";
    } else if (line.begin != line.end &&
               std::memchr(line.begin, 0, static_cast<std::size_t>(line.end - line.begin)) !=
                   nullptr) {
      line.problem = "the line holds a NUL byte: a binary or UTF-16 file?";
    }
    return true;
  }
}

LineGuard::LineGuard(const std::string& path, const ReadOptions& options)
    : path_(path),
      allowed_(options.skip_bad_lines),
      report_(options.report != nullptr ? options.report : &own_) {
  if (allowed_ < 0)
    throw OptionError(concat("reader: expected skip_bad_lines >= 0, got ", allowed_));
  *report_ = ReadReport();
}

void LineGuard::bad(const Line& line, const std::string& reason) {
  const std::string full =
      line.terminated ? reason : reason + " (last line, without a line end: is the file cut off?)";
  const std::size_t skipped = report_->bad_lines.size();
  if (skipped >= static_cast<std::size_t>(allowed_)) {
    throw DataError(
        path_, line.number,
        skipped == 0 ? full : concat(full, "; ", skipped, " bad lines were passed over before it"));
  }
  report_->bad_lines.push_back({line.number, full});
}

}  // namespace refrain::detail
