#pragma once
/// Files that are replaced as a whole or not at all.

#include <cstddef>
#include <string>

#include "refrain/core/export.hpp"

namespace refrain {

/// A new version of a file: written beside it under another name, and in its place only once
/// commit() has returned. Without commit() the destructor removes it; what a killed process left,
/// the next one to replace the same file. Everything throws DataError, naming the file, with the
/// reason.
class REFRAIN_API ReplacedFile {
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
