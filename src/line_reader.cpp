#include "src/line_reader.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "src/whole_file.hpp"

namespace refrain::detail {

namespace {

/// The size of the block for files that need no smaller one.
std::size_t block_bytes_for(std::int64_t max_line_bytes) {
  if (max_line_bytes < 1 || max_line_bytes > LineReader::line_limit_bytes) {
    throw OptionError(detail::concat("reader: expected max_line_bytes from 1 to ",
                                     LineReader::line_limit_bytes, ", got ", max_line_bytes));
  }
  return std::max(std::size_t{1} << 20, 2 * static_cast<std::size_t>(max_line_bytes));
}

}  // namespace

LineReader::LineReader(std::string name, std::FILE* stream, std::string_view start,
                       std::int64_t max_line_bytes)
    : path_(std::move(name)),
      file_(stream),
      max_line_bytes_(static_cast<std::size_t>(max_line_bytes)) {
  block_.resize(std::max(block_bytes_for(max_line_bytes), start.size()));
  std::copy(start.begin(), start.end(), block_.begin());
  end_ = start.size();
  refilled_bytes_ = static_cast<std::int64_t>(end_);
}

LineReader::LineReader(const std::string& path, std::int64_t max_line_bytes) : path_(path) {
  const std::size_t block_bytes = block_bytes_for(max_line_bytes);
  expect_path(path);
  std::error_code status;
  if (std::filesystem::is_directory(path, status))
    throw DataError(path, 0, "expected a file, got a directory");
  do {
    errno = 0;
    file_.reset(std::fopen(path.c_str(), "rb"));
  } while (file_ == nullptr && errno == EINTR);  // open() of a pipe waits for its writer
  if (file_ == nullptr)
    throw DataError(path, 0, detail::concat("cannot be opened: ", std::strerror(errno)));
  std::setvbuf(file_.get(), nullptr, _IONBF, 0);
  if (std::filesystem::is_regular_file(path, status))
    file_bytes_ = static_cast<std::int64_t>(std::filesystem::file_size(path, status));
  max_line_bytes_ = static_cast<std::size_t>(max_line_bytes);
  // The extra byte detects the end of the file.
  const std::size_t whole_file_bytes = static_cast<std::size_t>(file_bytes_) + 1;
  block_.resize(file_bytes_ > 0 ? std::min(block_bytes, whole_file_bytes) : block_bytes);
}

/// Moves the unread bytes to the front of the block and reads more behind them.
void LineReader::refill() {
  std::memmove(block_.data(), block_.data() + begin_, end_ - begin_);
  scanned_ -= begin_;
  end_ -= begin_;
  begin_ = 0;
  std::size_t got = 0;
  for (bool interrupted = true; interrupted;) {
    // A signal may have ended the read before this one after some bytes, which sets the error flag.
    std::clearerr(file_.get());
    errno = 0;
    got = std::fread(block_.data() + end_, 1, block_.size() - end_, file_.get());
    interrupted = got == 0 && std::ferror(file_.get()) != 0 && errno == EINTR;
  }
  if (got == 0) {
    if (std::ferror(file_.get()) != 0)
      throw DataError(path_, line_number_ + 1,
                      detail::concat("cannot be read: ", std::strerror(errno)));
    at_end_ = true;
  }
  end_ += got;
  refilled_bytes_ += static_cast<std::int64_t>(got);
}

/// Skips the rest of a line that is too long.
void LineReader::skip_rest() {
  std::int64_t skipped = 0;
  while (is_within_line_) {
    const void* const found = std::memchr(block_.data() + begin_, '\n', end_ - begin_);
    const std::size_t stop =
        found != nullptr
            ? static_cast<std::size_t>(static_cast<const char*>(found) - block_.data()) + 1
            : end_;
    skipped += static_cast<std::int64_t>(stop - begin_);
    begin_ = scanned_ = stop;
    if (found != nullptr || at_end_) {
      is_within_line_ = false;
    } else if (skipped > line_limit_bytes) {
      throw DataError(
          path_, line_number_,
          detail::concat("the line has no end within ", line_limit_bytes,
                         " bytes: expected a text file of one event or sequence per line"));
    } else {
      refill();
    }
  }
}

/// Returns the line at begin_ with a problem: it is too long.
bool LineReader::too_long(Line& line) {
  line.begin = line.end = block_.data() + begin_;
  line.number = ++line_number_;
  line.terminated = true;
  line.problem = detail::concat("expected a line of at most ", max_line_bytes_,
                                " bytes (max_line_bytes), got a longer one");
  is_within_line_ = true;
  return true;
}

bool LineReader::next(Line& line) {
  skip_rest();
  for (;;) {
    const char* const found =
        static_cast<const char*>(std::memchr(block_.data() + scanned_, '\n', end_ - scanned_));
    const std::size_t stop =
        found != nullptr ? static_cast<std::size_t>(found - block_.data()) : end_;
    if (stop - begin_ > max_line_bytes_) return too_long(line);
    if (found == nullptr && !at_end_) {
      scanned_ = end_;
      refill();
      continue;
    }
    if (found == nullptr && begin_ == end_) return false;
    line.begin = block_.data() + begin_;
    line.end = block_.data() + stop;
    line.number = ++line_number_;
    line.terminated = found != nullptr;
    begin_ = scanned_ = std::min(stop + 1, end_);
    if (line.number == 1 && line.text().starts_with("\xEF\xBB\xBF")) line.begin += 3;
    if (line.end != line.begin && line.end[-1] == '\r') --line.end;
    line.problem.clear();
    if (line.begin != line.end &&
        std::memchr(line.begin, 0, static_cast<std::size_t>(line.end - line.begin)) != nullptr) {
      line.problem = "the line holds a NUL byte: a binary or UTF-16 file?";
    }
    return true;
  }
}

LineGuard::LineGuard(const std::string& path, const ReadOptions& options, std::string read_as)
    : path_(path),
      allowed_(options.skip_bad_lines),
      read_as_(std::move(read_as)),
      report_(options.report != nullptr ? options.report : &own_) {
  if (allowed_ < 0)
    throw OptionError(detail::concat("reader: expected skip_bad_lines >= 0, got ", allowed_));
  *report_ = ReadReport();
}

void LineGuard::bad(const Line& line, const std::string& reason) {
  const std::string full =
      line.terminated ? reason
                      : reason + " (last line, without a line end: is the file truncated?)";
  const std::size_t skipped = report_->bad_lines.size();
  if (skipped >= static_cast<std::size_t>(allowed_)) {
    std::string message = full;
    if (skipped > 0)
      message += detail::concat("; ", skipped, skipped == 1 ? " bad line was" : " bad lines were",
                                " skipped before it");
    if (!read_as_.empty()) message += detail::concat(" (read as ", read_as_, ")");
    throw DataError(path_, line.number, message);
  }
  report_->bad_lines.push_back({line.number, full});
}

}  // namespace refrain::detail
