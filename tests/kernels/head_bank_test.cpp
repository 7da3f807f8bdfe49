/// The losses of the heads of many tasks against naive loops, and the bits of each head alone.

#include "support/cases/head_bank.hpp"

using namespace refrain;
using namespace refrain::test;

TEMPLATE_TEST_CASE("head bank: losses equal the naive loop, and each head alone", "[kernel][bank]",
                   float, double) {
  for (const HeadBankCase& c : head_bank_cases()) check_head_bank<CpuBackend, TestType>(c);
  check_head_bank<CpuBackend, TestType>(small_head_bank(), Choices::every);
}

TEMPLATE_TEST_CASE("head bank: large scores", "[kernel][bank]", float, double) {
  check_large_scores_of_bank<CpuBackend, TestType>();
}
