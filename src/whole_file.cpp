#include "src/whole_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include "refrain/core/error.hpp"

namespace refrain {
namespace {

/// The most that one system call is asked to move.
constexpr std::size_t largest_transfer_bytes = std::size_t{1} << 30;

std::string because(const char* action, int error) { return concat(action, ": ", std::strerror(error)); }

/// The file that a write to `path` should replace: what a symbolic link points to, not the link.
std::string resolved(const std::string& path) {
  std::error_code error;
  const std::filesystem::path target = std::filesystem::canonical(path, error);
  return error ? path : target.string();
}

}  // namespace

InputFile::InputFile(std::string path) : path_(std::move(path)) {
  descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor_ < 0) throw DataError(path_, 0, because("cannot be opened", errno));
  struct stat status = {};
  if (::fstat(descriptor_, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(descriptor_);
    throw DataError(path_, 0, "is not a regular file");
  }
  size_ = static_cast<std::uint64_t>(status.st_size);
}

InputFile::~InputFile() { ::close(descriptor_); }

void InputFile::read_at(std::uint64_t position, void* to, std::size_t count) const {
  char* at = static_cast<char*>(to);
  while (count > 0) {
    const ssize_t got = ::pread(descriptor_, at, std::min(count, largest_transfer_bytes), static_cast<off_t>(position));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw DataError(path_, 0, because("cannot be read", errno));
    if (got == 0) throw DataError(path_, 0, concat("ends at byte ", position, ", before what its header announces"));
    at += got;
    count -= static_cast<std::size_t>(got);
    position += static_cast<std::uint64_t>(got);
  }
}

ReplacedFile::ReplacedFile(std::string path) : path_(resolved(path)) {
  struct stat before = {};
  const bool exists = ::stat(path_.c_str(), &before) == 0;
  if (exists && !S_ISREG(before.st_mode)) throw DataError(path_, 0, "is not a regular file, so it is not replaced");
  // A process that was killed may have left a neighbour of the same name: then the next name is taken.
  static std::atomic<int> serial{0};
  for (int tries = 0; descriptor_ < 0; ++tries) {
    temporary_ = concat(path_, ".", ::getpid(), ".", serial.fetch_add(1), ".tmp");
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor_ < 0 && (errno != EEXIST || tries == 1000)) {
      const int error = errno;
      temporary_.clear();
      throw DataError(path_, 0, because("its temporary neighbour cannot be created", error));
    }
  }
  // A file that is replaced keeps its permissions; if it cannot, the usual ones of a new file are safe enough.
  if (exists) (void)!::fchmod(descriptor_, before.st_mode & 07777);
}

ReplacedFile::~ReplacedFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void ReplacedFile::fail(const char* action) const { throw DataError(path_, 0, because(action, errno)); }

void ReplacedFile::write(const void* from, std::size_t count) {
  const char* at = static_cast<const char*>(from);
  while (count > 0) {
    const ssize_t put = ::write(descriptor_, at, std::min(count, largest_transfer_bytes));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) fail("cannot be written");
    at += put;
    count -= static_cast<std::size_t>(put);
  }
}

void ReplacedFile::commit() {
  if (::fsync(descriptor_) != 0) fail("cannot be synced to disk");
  if (::close(std::exchange(descriptor_, -1)) != 0) fail("cannot be closed");
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0) fail("cannot be put in place");
  temporary_.clear();
  const std::string folder = std::filesystem::path(path_).parent_path().string();
  const int descriptor = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;  // a folder that may be written but not read cannot be synced
  const int result = ::fsync(descriptor);
  const int error = errno;
  ::close(descriptor);
  // Some file systems know no syncing of folders and say EINVAL.
  if (result != 0 && error != EINVAL) throw DataError(path_, 0, because("its folder cannot be synced to disk", error));
}

}  // namespace refrain
