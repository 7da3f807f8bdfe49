#pragma once
/// The files that a command will write, tried before it begins to work.

#include <string>
#include <vector>

namespace refrain::examples {

/// A file and the option that names it.
struct NamedFile {
  std::string option;
  std::string path;
};

/// Throws OptionError when a file to be written has no name or no folder or is also another one of
/// the command's files, and DataError when it could not be written. `others` are read, or written
/// by and by; their empty names stand for options that were not given. Nothing is changed.
void expect_outputs(const std::vector<NamedFile>& written, const std::vector<NamedFile>& others);

/// The files of one option, one entry each.
std::vector<NamedFile> named_files(const std::string& option,
                                   const std::vector<std::string>& paths);

/// For a file that lines are added to: throws OptionError when its folder is missing, and DataError
/// when it could not be written or made. Nothing is changed.
void expect_appendable(const NamedFile& file);

}  // namespace refrain::examples
