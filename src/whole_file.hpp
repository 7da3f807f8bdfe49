#pragma once
// Files that are read as a whole; what replaces them is in refrain/train/replaced_file.hpp.

#include <cstddef>
#include <cstdint>
#include <string>

namespace refrain {

/// A regular file open for reading.  Everything throws DataError, naming the file, with the reason.
class InputFile {
 public:
  explicit InputFile(std::string path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  std::uint64_t size() const noexcept { return size_; }
  /// Fills `to` from the given place; there must be that many bytes.
  void read_at(std::uint64_t position, void* to, std::size_t count) const;

 private:
  std::string path_;
  std::uint64_t size_ = 0;
  int descriptor_ = -1;
};

}  // namespace refrain
