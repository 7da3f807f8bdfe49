#pragma once
// Files read as a whole; refrain/train/replaced_file.hpp replaces them.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace refrain {

namespace detail {

/// Throws DataError for a path with a NUL byte, at which the system would cut the path.
void expect_path(const std::string& path);

/// The name of the file or folder that a temporary one replaces: the temporary name without its
/// suffix ".<process>.<number>.tmp". Empty for any other name.
std::string_view replaced_by(std::string_view name);

enum class Lock { taken, held_by_another, unknown };

/// Takes the lock of a writer, which the descriptor holds until it is closed. `unknown`: the file
/// system has no locks.
Lock try_lock(int descriptor);

/// The folder of a path; "." for a name alone.
std::string folder_of(const std::string& path);

/// Syncs a folder to disk, so that its names are. Throws DataError about `path` when that fails;
/// a folder that cannot be read or synced is left alone.
void sync_folder(const std::string& folder, const std::string& path);

}  // namespace detail

/// A regular file open for reading. All functions throw DataError with the file and the reason.
class InputFile {
 public:
  explicit InputFile(std::string path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  std::uint64_t size() const noexcept { return size_; }
  /// Fills `to` from the given position. Throws DataError when the file ends before `count` bytes.
  void read_at(std::uint64_t position, void* to, std::size_t count) const;

 private:
  std::string path_;
  std::uint64_t size_ = 0;
  int descriptor_ = -1;
};

}  // namespace refrain
