#pragma once
/// The files that a command will write, tried before it begins to work.

#include <string>
#include <vector>

#include "common/options.hpp"

namespace refrain::examples {

/// A file and the option that names it.
struct NamedFile {
  std::string option;
  std::string path;
};

/// The files of one option, one entry each.
std::vector<NamedFile> named_files(const std::string& option,
                                   const std::vector<std::string>& paths);

/// All files of a command. An empty path in `read` or `appended` stands for an option that was not
/// given.
struct CommandFiles {
  std::vector<NamedFile> read;
  std::vector<NamedFile> replaced;  ///< written as a whole
  std::vector<NamedFile> appended;  ///< grow by lines
};

/// The files of the options that most commands have, --resume among them (empty: not given), and
/// those that a command replaces.
CommandFiles command_files(const LogOptions& log, const RunOptions& run,
                           std::vector<NamedFile> replaced = {},
                           const std::string& state_file = {});

/// Checks the files of a command before it begins to work, and changes nothing. Throws OptionError
/// when a file to be written has no name or no folder, or is also another file of the command,
/// under whatever name and through whatever links; DataError when it is read-only or cannot be
/// written.
void expect_files(const CommandFiles& files);

}  // namespace refrain::examples
