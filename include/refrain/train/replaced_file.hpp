#pragma once
/// Atomic replacement of files.

#include <cstddef>
#include <string>

#include "refrain/core/export.hpp"

namespace refrain {

/// A new version of a file, written under another name in the same folder; commit() renames it.
/// Without commit() the destructor removes it. The next ReplacedFile of the same path removes the
/// new version that a killed process left. All functions throw DataError with the file and the
/// reason.
class REFRAIN_API ReplacedFile {
 public:
  /// Creates the new version beside `path`.
  explicit ReplacedFile(std::string path);
  ~ReplacedFile();
  ReplacedFile(const ReplacedFile&) = delete;
  ReplacedFile& operator=(const ReplacedFile&) = delete;

  /// Appends bytes to the new version.
  void write(const void* from, std::size_t count);
  /// Syncs the file, renames it, and syncs the folder.
  void commit();

 private:
  [[noreturn]] void fail(const char* action) const;

  std::string path_;
  std::string temporary_;
  int descriptor_ = -1;
};

}  // namespace refrain
