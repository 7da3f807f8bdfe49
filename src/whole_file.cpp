#include "src/whole_file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <utility>

#include "refrain/core/error.hpp"
#include "refrain/train/replaced_file.hpp"
#include "src/utf8.hpp"

namespace refrain {

using detail::folder_of;
using detail::Lock;
using detail::replaced_by;
using detail::sync_folder;
using detail::try_lock;

namespace {

/// Largest size of one read or write.
constexpr std::size_t max_transfer_bytes = std::size_t{1} << 30;

std::string because(const char* action, int error) {
  return detail::concat(action, ": ", std::strerror(error));
}

/// The file that a write to `path` replaces: the target when `path` is a symbolic link.
std::string resolved(const std::string& path) {
  std::error_code error;
  const std::filesystem::path target = std::filesystem::canonical(path, error);
  return error ? path : target.string();
}

/// Retries a system call while signals interrupt it.
template <class Call>
int uninterrupted(Call call) {
  for (;;) {
    if (const int result = call(); result == 0 || errno != EINTR) return result;
  }
}

/// Removes the temporary files of killed writers, which no process locks.
void remove_abandoned(const std::string& path) {
  const std::string target = std::filesystem::path(path).filename().string();
  std::error_code error;
  for (std::filesystem::directory_iterator at(folder_of(path), error), end; !error && at != end;
       at.increment(error)) {
    if (replaced_by(at->path().filename().string()) != target) continue;
    const int descriptor =
        ::open(at->path().c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (descriptor < 0) continue;
    struct stat status = {};
    const bool is_file = ::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode);
    if (is_file && try_lock(descriptor) == Lock::taken) ::unlink(at->path().c_str());
    ::close(descriptor);
  }
}

}  // namespace

void detail::expect_path(const std::string& path) {
  const std::size_t length = path.find('\0');
  if (length == std::string::npos) return;
  throw DataError(detail::printable(path), 0,
                  detail::concat("the path holds a NUL byte: expected a path, got one of ",
                                 path.size(), " bytes that the system would cut to ", length));
}

std::string_view detail::replaced_by(std::string_view name) {
  constexpr std::string_view end = ".tmp";
  if (!name.ends_with(end)) return {};
  name.remove_suffix(end.size());
  for (int part = 0; part < 2; ++part) {
    const std::size_t digits = name.size() - (name.find_last_not_of("0123456789") + 1);
    if (digits == 0 || digits == name.size() || name[name.size() - digits - 1] != '.') return {};
    name.remove_suffix(digits + 1);
  }
  return name;
}

std::string detail::folder_of(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

detail::Lock detail::try_lock(int descriptor) {
  if (uninterrupted([&] { return ::flock(descriptor, LOCK_EX | LOCK_NB); }) == 0)
    return Lock::taken;
  return errno == EWOULDBLOCK ? Lock::held_by_another : Lock::unknown;
}

void detail::sync_folder(const std::string& folder, const std::string& path) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;  // a folder that can be written but not read cannot be synced
  const int result = uninterrupted([&] { return ::fsync(descriptor); });
  const int error = errno;
  ::close(descriptor);
  // File systems that cannot sync folders answer EINVAL.
  if (result != 0 && error != EINVAL)
    throw DataError(path, 0, because("its folder cannot be synced to disk", error));
}

InputFile::InputFile(std::string path) : path_(std::move(path)) {
  detail::expect_path(path_);
  do {
    descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  } while (descriptor_ < 0 && errno == EINTR);
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
    const ssize_t got =
        ::pread(descriptor_, at, std::min(count, max_transfer_bytes), static_cast<off_t>(position));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw DataError(path_, 0, because("cannot be read", errno));
    if (got == 0)
      throw DataError(path_, 0,
                      detail::concat("ends at byte ", position, ", before the size in its header"));
    at += got;
    count -= static_cast<std::size_t>(got);
    position += static_cast<std::uint64_t>(got);
  }
}

ReplacedFile::ReplacedFile(std::string path) {
  detail::expect_path(path);
  path_ = resolved(path);
  struct stat before = {};
  const bool exists = ::stat(path_.c_str(), &before) == 0;
  if (exists && !S_ISREG(before.st_mode))
    throw DataError(path_, 0, "is not a regular file, so it is not replaced");
  remove_abandoned(path_);
  // On a file system without locks a name may be in use; then the next one is tried.
  static std::atomic<unsigned> serial{0};
  for (int tries = 0; descriptor_ < 0; ++tries) {
    temporary_ = detail::concat(path_, ".", ::getpid(), ".", serial.fetch_add(1), ".tmp");
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor_ < 0 && ((errno != EEXIST && errno != EINTR) || tries == 1000)) {
      const int error = errno;
      temporary_.clear();
      throw DataError(path_, 0,
                      because("cannot be written: no file can be created in its folder", error));
    }
    if (descriptor_ < 0) continue;
    // Between open() and the lock another writer may have removed the file as abandoned.
    struct stat made = {};
    if (try_lock(descriptor_) == Lock::held_by_another || ::fstat(descriptor_, &made) != 0 ||
        made.st_nlink == 0)
      ::close(std::exchange(descriptor_, -1));
  }
  // The new version keeps the permissions of the old one where possible; the defaults of a new file
  // are safe.
  if (exists) (void)!::fchmod(descriptor_, before.st_mode & 07777);
}

ReplacedFile::~ReplacedFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void ReplacedFile::fail(const char* action) const {
  throw DataError(path_, 0, because(action, errno));
}

void ReplacedFile::write(const void* from, std::size_t count) {
  const char* at = static_cast<const char*>(from);
  while (count > 0) {
    const ssize_t put = ::write(descriptor_, at, std::min(count, max_transfer_bytes));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) fail("cannot be written");
    if (put == 0)
      throw DataError(
          path_, 0,
          detail::concat("cannot be written: the system accepted 0 of ", count, " bytes"));
    at += put;
    count -= static_cast<std::size_t>(put);
  }
}

void ReplacedFile::commit() {
  if (uninterrupted([&] { return ::fsync(descriptor_); }) != 0) fail("cannot be synced to disk");
  // rename() comes before close(), which releases the lock: an unlocked temporary file would count
  // as abandoned. fsync() has reported all errors that close() could report.
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0)
    fail("cannot be renamed to its final name");
  temporary_.clear();
  ::close(std::exchange(descriptor_, -1));
  sync_folder(folder_of(path_), path_);
}

}  // namespace refrain
