#pragma once
// Files read as a whole; refrain/train/replaced_file.hpp replaces them.

#include <cstddef>
#include <cstdint>
#include <string>

namespace refrain {

namespace detail {
/// Throws DataError for a path with a NUL byte, at which the system would cut the path.
void expect_path(const std::string& path);
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
