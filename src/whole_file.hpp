#pragma once
// Files that are read or replaced as a whole.

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

/// A new version of a file: written beside it under another name, and in its place only once commit() has returned.  Without
/// commit() the destructor removes it; what a killed process left, the next one to replace the same file.  Everything throws DataError,
/// naming the file, with the reason.
class ReplacedFile {
 public:
  explicit ReplacedFile(std::string path);
  ~ReplacedFile();
  ReplacedFile(const ReplacedFile&) = delete;
  ReplacedFile& operator=(const ReplacedFile&) = delete;

  void write(const void* from, std::size_t count);
  /// Syncs, renames, and syncs the folder.
  void commit();

 private:
  [[noreturn]] void fail(const char* action) const;

  std::string path_;
  std::string temporary_;
  int descriptor_ = -1;
};

}  // namespace refrain
