/// Banks of patches on CUDA, emulated: values and gradients against loops in double, and the bits
/// of the sequences of each row alone.

#include "support/cases/bank.hpp"
#include "support/simt/emulated_backend.hpp"
#include "support/skip.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {
namespace cuda_bank {

/// In order: the path of one launch; several widths, which take the path of f64; odd widths and
/// addresses; a sequence of more rows than a tile, and one gamma for all; widths beyond a slice of
/// 32.
const std::vector<BankCase> cases{
    {.rows = {0, 1, 3, 3}, .widths = {}, .steps = 3, .channels = 8, .bottleneck = 4},
    {.rows = {0, 1, 1, 2}, .widths = {1, 5, 3}, .steps = 4, .channels = 12, .bottleneck = 6},
    {.rows = {2, 4},
     .widths = {},
     .steps = 2,
     .channels = 5,
     .bottleneck = 3,
     .same = true,
     .offset = 1},
    {.rows = {1},
     .widths = {},
     .steps = 66,
     .channels = 4,
     .bottleneck = 4,
     .has_norm_bank = false},
    {.rows = {1, 2}, .widths = {8, 40, 8}, .steps = 2, .channels = 8, .bottleneck = 40},
};
/// For every choice of outputs.
const BankCase small{.rows = {0, 2}, .widths = {}, .steps = 1, .channels = 4, .bottleneck = 4};

}  // namespace cuda_bank
}  // namespace

TEMPLATE_TEST_CASE("cuda bank: rows are replaced by those of their tasks", "[simt][bank]", float,
                   double) {
  check_replaced_bank<EmulatedBackend, TestType>({0, 1, 1, 3}, 5, 4);
  check_replaced_bank<EmulatedBackend, TestType>({2, 2, 5}, 3, 7, 1);
  std::vector<std::int32_t> many(70);  // more sequences than a warp has lanes
  for (std::size_t i = 0; i < many.size(); ++i) many[i] = static_cast<std::int32_t>(i / 2);
  check_replaced_bank<EmulatedBackend, TestType>(many, 2, 1);
}

TEMPLATE_TEST_CASE("cuda bank: patches equal the naive loop, and each task alone", "[simt][bank]",
                   float, double) {
  for (const BankCase& c : cuda_bank::cases) check_patch_bank<EmulatedBackend, TestType>(c);
  check_patch_bank<EmulatedBackend, TestType>(cuda_bank::small, {.choices = Choices::each});
}

TEST_CASE("cuda bank: patches wider than the tile of half a block", "[simt][bank]") {
  check_patch_bank<EmulatedBackend, float>(
      {.rows = {0, 1, 2}, .widths = {}, .steps = 1, .channels = 132, .bottleneck = 4});
  const BankProblem<EmulatedBackend, float> wide(
      {.rows = {0, 1}, .widths = {}, .steps = 1, .channels = 260, .bottleneck = 4});
  Outputs<float, Device::cuda> outputs(wide.expected_patch(), ~0U, 0);
  CHECK_THROWS_MATCHES(wide.run_patch(outputs), Unsupported,
                       message_contains("at most 256 channels"));
}

TEST_CASE("cuda bank: halves of blocks equal the naive loop, and each task alone", "[simt][bank]") {
  for (const Insertion insertion : {Insertion::serial, Insertion::parallel}) {
    for (const BankCase& c : cuda_bank::cases)
      check_half_bank<EmulatedBackend, float>(c, insertion);
    for (const std::size_t i : {0, 1})
      check_half_bank<EmulatedBackend, double>(cuda_bank::cases[i], insertion);
  }
}

TEST_CASE("cuda bank: halves of blocks with any choice of outputs", "[simt][bank]") {
  if (simt::emulation::under_tsan) REFRAIN_SKIP("the launches are those of all outputs");
  for (const Insertion insertion : {Insertion::serial, Insertion::parallel}) {
    check_half_bank<EmulatedBackend, float>(cuda_bank::small, insertion,
                                            {.choices = Choices::each});
  }
}

TEST_CASE("cuda bank: halves of blocks wider than a tile", "[simt][bank]") {
  for (const Insertion insertion : {Insertion::serial, Insertion::parallel}) {
    check_half_bank<EmulatedBackend, float>(
        {.rows = {0, 1, 1, 3}, .widths = {}, .steps = 2, .channels = 68, .bottleneck = 8},
        insertion);
    check_half_bank<EmulatedBackend, float>(
        {.rows = {0, 2}, .widths = {1, 1, 3}, .steps = 2, .channels = 67, .bottleneck = 5},
        insertion);
  }
  const BankProblem<EmulatedBackend, double> wide(
      {.rows = {0, 1}, .widths = {}, .steps = 1, .channels = 65, .bottleneck = 4});
  Outputs<double, Device::cuda> outputs(wide.expected_half(Insertion::serial), ~0U, 0);
  CHECK_THROWS_MATCHES(wide.run_half(Insertion::serial, outputs), Unsupported,
                       message_contains("got 65 channels"));
}

TEST_CASE("cuda bank: on tensor cores", "[simt][bank]") {
  for (const MathMode mode : {MathMode::tf32, MathMode::bf16}) {
    const MathScope scope(mode);
    INFO(name(mode));
    const RunOptions<float> options{.choices = Choices::all, .allowed = tolerance_of<float>(mode)};
    check_patch_bank<EmulatedBackend, float>(cuda_bank::cases[0], options);
    check_half_bank<EmulatedBackend, float>(cuda_bank::small, Insertion::serial, options);
  }
}

TEST_CASE("cuda bank: the launches depend only on the shapes", "[simt][bank]") {
  const auto launches = [](std::vector<std::int32_t> rows) {
    const BankProblem<EmulatedBackend, float> problem(
        {.rows = std::move(rows), .widths = {}, .steps = 3, .channels = 8, .bottleneck = 4});
    Outputs<float, Device::cuda> outputs(problem.expected_half(Insertion::serial), ~0U, 0);
    return launches_of([&] { problem.run_half(Insertion::serial, outputs); });
  };
  const std::int64_t count = launches({0, 1, 2, 3});
  CHECK(count > 1);
  CHECK(launches({1, 1, 2, 3}) == count);
  CHECK(launches({0, 0, 0, 3}) == count);
}
