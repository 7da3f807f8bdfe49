/// The main program of every test executable: Catch2, and the report of skipped test cases.

#define CATCH_CONFIG_RUNNER
#include "support/catch.hpp"
#include "support/skip.hpp"

#include <cstdio>
#include <string>

namespace {

std::string& skip_reason() {
  static std::string reason;
  return reason;
}

#if REFRAIN_CATCH2 >= 3
using ListenerBase = Catch::EventListenerBase;
#else
using ListenerBase = Catch::TestEventListenerBase;
#endif

class SkipReport : public ListenerBase {
 public:
  using ListenerBase::ListenerBase;
  void testCaseStarting(const Catch::TestCaseInfo& info) override {
    ListenerBase::testCaseStarting(info);
    skip_reason().clear();
  }
  void testCaseEnded(const Catch::TestCaseStats& stats) override {
    if (!skip_reason().empty() && stats.totals.assertions.failed == 0) {
      std::printf("SKIPPED: %s\n", skip_reason().c_str());
      std::fflush(stdout);
    }
    ListenerBase::testCaseEnded(stats);
  }
};

}  // namespace

CATCH_REGISTER_LISTENER(SkipReport)

void refrain::test::record_skip(const std::string& reason) { skip_reason() = reason; }

int main(int argc, char** argv) { return Catch::Session().run(argc, argv); }
