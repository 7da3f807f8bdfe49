#pragma once
/// What an exception tells the user.

#include <string>

namespace refrain::examples {

/// An exception as the end of a program.
struct Failure {
  std::string text;      ///< empty when standard output failed, which finish_output() reports
  int code = 1;          ///< exit code: 1 for errors that the user can correct, 2 for all others
  int output_error = 0;  ///< errno of standard output
};

/// The failure of the exception that is being handled; called inside a catch block.
Failure current_failure();

}  // namespace refrain::examples
