/// Kernels of banks of patches against naive loops, and the bits of the sequences of each row
/// alone.

#include "support/cases/bank.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {
namespace bank_kernels {

const std::vector<BankCase> cases{
    {.rows = {0, 0, 1, 3, 3}, .widths = {}, .steps = 3, .channels = 8, .bottleneck = 4},
    {.rows = {0, 1, 1, 2}, .widths = {1, 5, 3}, .steps = 4, .channels = 12, .bottleneck = 6},
    {.rows = {2, 2, 4},
     .widths = {},
     .steps = 2,
     .channels = 5,
     .bottleneck = 3,
     .same = true,
     .offset = 1},
    {.rows = {0, 1},
     .widths = {},
     .steps = 300,
     .channels = 4,
     .bottleneck = 4,
     .has_norm_bank = false},
    {.rows = {1, 2}, .widths = {8, 40, 8}, .steps = 2, .channels = 72, .bottleneck = 40},
};

}  // namespace bank_kernels
}  // namespace

TEMPLATE_TEST_CASE("bank kernels: rows are replaced by those of their tasks", "[kernel][bank]",
                   float, double) {
  check_replaced_bank<CpuBackend, TestType>({0, 1, 1, 3}, 5, 4);
  check_replaced_bank<CpuBackend, TestType>({2, 2, 5}, 3, 7, 1);
}

TEMPLATE_TEST_CASE("bank kernels: patches equal the naive loop, and each task alone",
                   "[kernel][bank]", float, double) {
  for (const BankCase& c : bank_kernels::cases) check_patch_bank<CpuBackend, TestType>(c);
}

TEMPLATE_TEST_CASE("bank kernels: halves of blocks equal the naive loop, and each task alone",
                   "[kernel][bank]", float, double) {
  for (const Insertion insertion : {Insertion::serial, Insertion::parallel}) {
    for (const BankCase& c : bank_kernels::cases)
      check_half_bank<CpuBackend, TestType>(c, insertion);
  }
}
