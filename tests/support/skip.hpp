#pragma once
/// Leaving a test early when what it needs is not on this machine, in a way that ctest shows as
/// "Skipped".

#include <string>

namespace refrain::test {

/// Notes that the running test case cannot run here. When the test case ends without a failure,
/// "SKIPPED: <reason>" is printed, which is what ctest looks for; a failed test case stays failed.
void record_skip(const std::string& reason);

}  // namespace refrain::test

/// Ends the running test function as skipped: REFRAIN_SKIP("no folder " + folder).
#define REFRAIN_SKIP(reason)              \
  do {                                    \
    ::refrain::test::record_skip(reason); \
    return;                               \
  } while (false)
