/// The losses of the heads of many tasks on CUDA, emulated: values against loops in double, and the
/// bits of each head alone.

#include "support/cases/head_bank.hpp"
#include "support/simt/emulated_backend.hpp"

using namespace refrain;
using namespace refrain::test;

TEMPLATE_TEST_CASE("cuda head bank: losses equal the naive loop, and each head alone",
                   "[simt][bank]", float, double) {
  for (const HeadBankCase& c : head_bank_cases()) check_head_bank<EmulatedBackend, TestType>(c);
  check_head_bank<EmulatedBackend, TestType>(small_head_bank(), Choices::every);
}

TEMPLATE_TEST_CASE("cuda head bank: large scores", "[simt][bank]", float, double) {
  check_large_scores_of_bank<EmulatedBackend, TestType>();
}

TEST_CASE("cuda head bank: the launches depend only on the shapes", "[simt][bank]") {
  const auto launches = [](std::vector<std::int32_t> rows) {
    const HeadBankProblem<EmulatedBackend, float> problem(
        {.rows = std::move(rows), .classes = {0, 2, 3, 4}, .channels = 8});
    Outputs<float, Device::cuda> outputs(problem.expected(), ~0U, 0);
    return launches_of([&] { problem.run(outputs); });
  };
  const std::int64_t count = launches({0, 1, 2, 3});
  CHECK(count == 4);
  CHECK(launches({1, 2, 2, 3}) == count);
  CHECK(launches({3, 3, 3, 3}) == count);
}
