#include "src/store_writer.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include "refrain/core/error.hpp"
#include "src/whole_file.hpp"

namespace refrain::detail {
namespace {

namespace fs = std::filesystem;

/// The path without slashes at its end.
std::string without_slashes(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

int open_folder(const std::string& path) {
  return ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

void enter(Manifest& manifest, const std::string& name, BufferedWriter& file) {
  file.sync();
  manifest.files[name] = {file.bytes(), hexadecimal(file.hash())};
}

}  // namespace

StoreFolder::StoreFolder(std::string path) {
  expect_path(path);
  path_ = without_slashes(std::move(path));
  std::error_code error;
  if (path_.empty() || fs::exists(fs::symlink_status(path_, error)))
    throw DataError(path_, 0,
                    path_.empty() ? "expected the path of a new folder, got an empty one"
                                  : "exists already: remove it or name another folder");
  remove_abandoned();
  static std::atomic<unsigned> serial{0};
  for (int tries = 0; descriptor_ < 0; ++tries) {
    temporary_ = concat(path_, ".", ::getpid(), ".", serial.fetch_add(1), ".tmp");
    const bool is_made = ::mkdir(temporary_.c_str(), 0777) == 0;
    if (!is_made && (errno != EEXIST || tries == 1000)) {
      const std::string reason = std::strerror(errno);
      temporary_.clear();
      throw DataError(path_, 0, concat("cannot be written: no folder can be created: ", reason));
    }
    if (!is_made) continue;
    descriptor_ = open_folder(temporary_);
    // Between mkdir() and the lock another process may have removed the folder as abandoned.
    struct stat made = {};
    const bool is_ours = descriptor_ >= 0 && try_lock(descriptor_) != Lock::held_by_another &&
                         ::fstat(descriptor_, &made) == 0 && made.st_nlink > 0;
    if (!is_ours && descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
  }
}

StoreFolder::~StoreFolder() {
  if (!temporary_.empty()) {
    std::error_code ignored;
    fs::remove_all(temporary_, ignored);
  }
  if (descriptor_ >= 0) ::close(descriptor_);
}

void StoreFolder::remove_abandoned() const {
  const std::string name = fs::path(path_).filename().string();
  std::error_code error;
  for (fs::directory_iterator at(folder_of(path_), error), end; !error && at != end;
       at.increment(error)) {
    if (replaced_by(at->path().filename().string()) != name) continue;
    const int descriptor = open_folder(at->path().string());
    if (descriptor < 0) continue;
    std::error_code ignored;
    if (try_lock(descriptor) == Lock::taken) fs::remove_all(at->path(), ignored);
    ::close(descriptor);
  }
}

void StoreFolder::commit() {
  sync_folder(temporary_, path_);
  // rename() would replace an empty folder and refuses any other.
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0)
    throw DataError(path_, 0,
                    concat("cannot be renamed to its final name: ", std::strerror(errno)));
  temporary_.clear();
  sync_folder(folder_of(path_), path_);
}

void StringsWriter::finish(Manifest& manifest) {
  enter(manifest, name_ + ".text", text_);
  enter(manifest, name_ + ".ends", ends_);
}

StoreSide SideWriter::finish(Manifest& manifest, std::int64_t items) {
  enter(manifest, prefix_ + items_name, items_);
  enter(manifest, prefix_ + ends_name, ends_);
  users_.finish(manifest);
  side_.items = items;
  return side_;
}

}  // namespace refrain::detail
