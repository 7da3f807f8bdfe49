#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

#include "refrain/core/error.hpp"

namespace refrain::examples {

/// A temporary folder, removed by the destructor.
class TemporaryFolder {
 public:
  /// The folder's name begins with `name`. Throws DataError when it cannot be created.
  explicit TemporaryFolder(const std::string& name) {
    path_ = (std::filesystem::temp_directory_path() / (name + "-XXXXXX")).string();
    if (mkdtemp(path_.data()) == nullptr)
      throw DataError(path_, 0, "cannot create a folder for the generated data");
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
};

}  // namespace refrain::examples
