#include "src/buffered_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <utility>

#include "refrain/core/error.hpp"

namespace refrain::detail {
namespace {

[[noreturn]] void fail(const std::string& path, const char* action, int error) {
  throw DataError(path, 0, concat(action, ": ", std::strerror(error)));
}

/// The descriptor of a file without a name in a folder, or -1.
int open_unnamed(const std::string& folder) {
#ifdef O_TMPFILE
  if (const int made = ::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600); made >= 0)
    return made;
#endif
  // A file system without such files: a file whose name is removed at once.
  std::string name = folder + "/refrain-XXXXXX";
  const int made = ::mkostemp(name.data(), O_CLOEXEC);
  if (made >= 0) ::unlink(name.c_str());
  return made;
}

}  // namespace

BufferedWriter::BufferedWriter(std::string path, int descriptor, std::size_t buffer_bytes)
    : path_(std::move(path)), descriptor_(descriptor), buffer_(buffer_bytes) {
  if (descriptor_ < 0) fail(path_, "cannot be created", errno);
}

BufferedWriter::BufferedWriter(std::string path, std::size_t buffer_bytes)
    : BufferedWriter(path, ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666),
                     buffer_bytes) {}

BufferedWriter BufferedWriter::unnamed(const std::string& folder, std::size_t buffer_bytes) {
  if (const int made = open_unnamed(folder); made >= 0)
    return {concat(folder, "/ (a temporary file)"), made, buffer_bytes};
  const std::string other = std::filesystem::temp_directory_path().string();
  return {concat(other, "/ (a temporary file)"), open_unnamed(other), buffer_bytes};
}

BufferedWriter::BufferedWriter(BufferedWriter&& other) noexcept
    : path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      buffer_(std::move(other.buffer_)),
      used_(other.used_),
      bytes_(other.bytes_),
      hash_(other.hash_) {}

BufferedWriter::~BufferedWriter() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void BufferedWriter::write(const void* from, std::size_t count) {
  const char* at = static_cast<const char*>(from);
  bytes_ += count;
  while (count > 0) {
    const std::size_t taken = std::min(count, buffer_.size() - used_);
    std::memcpy(buffer_.data() + used_, at, taken);
    used_ += taken;
    at += taken;
    count -= taken;
    if (used_ == buffer_.size()) flush();
  }
}

void BufferedWriter::flush() {
  hash_.update(buffer_.data(), used_);
  for (std::size_t at = 0; at < used_;) {
    const ssize_t put = ::write(descriptor_, buffer_.data() + at, used_ - at);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) fail(path_, "cannot be written", errno);
    if (put == 0) throw DataError(path_, 0, "cannot be written: the system accepted 0 bytes");
    at += static_cast<std::size_t>(put);
  }
  used_ = 0;
}

void BufferedWriter::sync() {
  flush();
  while (::fsync(descriptor_) != 0) {
    if (errno != EINTR) fail(path_, "cannot be synced to disk", errno);
  }
}

int BufferedWriter::release() {
  flush();
  return std::exchange(descriptor_, -1);
}

void remove_file(const std::string& path) noexcept { ::unlink(path.c_str()); }

void BufferedReader::read(void* to, std::size_t count) {
  char* at = static_cast<char*>(to);
  while (count > 0) {
    if (begin_ == end_) {
      const std::size_t more =
          static_cast<std::size_t>(std::min<std::uint64_t>(buffer_.size(), left_));
      // An empty rest makes read_at() report the end of the file.
      file_->read_at(file_->size() - left_, buffer_.data(), std::max<std::size_t>(more, 1));
      hash_.update(buffer_.data(), more);
      left_ -= more;
      begin_ = 0;
      end_ = more;
    }
    const std::size_t taken = std::min(count, end_ - begin_);
    std::memcpy(at, buffer_.data() + begin_, taken);
    begin_ += taken;
    at += taken;
    count -= taken;
  }
}

}  // namespace refrain::detail
