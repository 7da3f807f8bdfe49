#pragma once
/// The source folder of this build.

#include <string>

namespace refrain::test {

/// The repository's root, without a slash at the end.
std::string source_dir();

}  // namespace refrain::test
