/// docs/kernels.md says what the CUDA table has, and why it lacks what it lacks.

#include "support/support_matrix.hpp"

#include "support/catch.hpp"

using namespace refrain;
using namespace refrain::test;

TEST_CASE("support matrix: docs/kernels.md says what the CUDA table has, or why it has it not",
          "[docs]") {
  const std::string page = text_of("docs/kernels.md");
  CHECK(matrix_problems(page, entries_of(kernels::table(Device::cuda)), &MatrixRow::cuda) ==
        std::vector<std::string>{});
}
