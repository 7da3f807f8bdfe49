/// docs/kernels.md lists the kernels of the CUDA table and the reasons for missing ones.

#include "support/support_matrix.hpp"

#include "support/catch.hpp"

using namespace refrain;
using namespace refrain::test;

TEST_CASE("support matrix: the CUDA table has the kernels that docs/kernels.md lists", "[docs]") {
  const std::vector<TableEntry> entries = entries_of(kernels::table(Device::cuda));
  CHECK(matrix_problems(text_of("docs/kernels.md"), entries, &MatrixRow::cuda) ==
        std::vector<std::string>{});
}

TEST_CASE("support matrix: a kernel that CUDA lacks throws Unsupported with the reason", "[docs]") {
  const kernels::Entry<kernels::ConvNormAtSteps>& entry =
      kernels::table(Device::cuda).entry<kernels::ConvNormAtSteps>();
  CHECK_FALSE(kernels::has_kernel<kernels::ConvNormAtSteps>(Device::cuda));
  kernels::ConvNormAtSteps args;
  args.x.device = Device::cuda;
  CHECK_THROWS_MATCHES(kernels::run(args), Unsupported,
                       message_contains(detail::concat(
                           "conv_norm_at_steps: Device::cuda has no such kernel: ", entry.absent)));
}
