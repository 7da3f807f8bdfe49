#pragma once
/// Where the sources that this build was configured from are.

#include <string>

namespace refrain::test {

/// The repository's root, without a slash at the end.
std::string source_dir();

}  // namespace refrain::test
