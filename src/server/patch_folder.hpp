#pragma once
// The folder from which a server loads patches.

#include <cstdint>
#include <string>

namespace refrain::detail {

/// An open file descriptor, closed at the end.
class OpenFile {
 public:
  explicit OpenFile(int descriptor) noexcept : descriptor_(descriptor) {}
  OpenFile(OpenFile&& other) noexcept : descriptor_(other.descriptor_) { other.descriptor_ = -1; }
  OpenFile& operator=(OpenFile&&) = delete;
  ~OpenFile();

  int descriptor() const noexcept { return descriptor_; }
  /// A path that opens the same file, whatever becomes of its name.
  std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

/// Opens files of one folder by their plain names. The folder is opened once: renaming it or
/// replacing it by a link has no effect.
class PatchFolder {
 public:
  /// Throws OptionError for a folder that cannot be opened.
  PatchFolder(const std::string& folder, std::int64_t largest);

  /// Opens a regular file of at most `largest` bytes. Throws OptionError for a name that is no
  /// plain file name, and for links, devices, pipes, folders, larger and absent files.
  OpenFile open(const std::string& name) const;

 private:
  OpenFile folder_;
  std::int64_t largest_;
};

}  // namespace refrain::detail
