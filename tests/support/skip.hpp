#pragma once
/// Skips a test whose requirements this machine lacks; ctest shows it as "Skipped".

#include <string>

namespace refrain::test {

/// Records that the running test case cannot run here. If the test case ends without a failure,
/// "SKIPPED: <reason>" is printed, which ctest recognizes; a failed test case stays failed.
void record_skip(const std::string& reason);

}  // namespace refrain::test

/// Ends the running test function as skipped: REFRAIN_SKIP("no folder " + folder).
#define REFRAIN_SKIP(reason)              \
  do {                                    \
    ::refrain::test::record_skip(reason); \
    return;                               \
  } while (false)
