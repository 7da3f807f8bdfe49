#pragma once
/// Checks a command's output files before its work begins.

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
  std::vector<NamedFile> replaced;  ///< replaced as a whole
  std::vector<NamedFile> appended;  ///< extended line by line
};

/// The files of the options that most commands share, including --resume (`state_file`; empty if
/// not given), and the files that the command replaces. A process that is not the first writes no
/// files.
CommandFiles command_files(const LogOptions& log, const RunOptions& run,
                           std::vector<NamedFile> replaced = {},
                           const std::string& state_file = {});

/// Checks the files of a command before its work begins, without changing any. Throws OptionError
/// if an output file has no name, is in no existing folder, or is identical to another file of the
/// command, also by another path or link. Throws DataError if it is read-only or cannot be written.
void expect_files(const CommandFiles& files);

}  // namespace refrain::examples
