/// Parameter updates on CUDA, emulated, against loops over single numbers in double.

#include "support/cases/optimizer.hpp"
#include "support/simt/emulated_backend.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {

/// No elements; one; sizes around a pack; sizes around a block's piece of 1,024; several blocks;
/// addresses that are no multiple of 16 bytes.
const UpdateSize dense_update_sizes[] = {
    {false, 0, 5},    {false, 1, 1},       {false, 1, 3},    {false, 1, 4, 1},   {false, 1, 1023},
    {false, 1, 1024}, {false, 1, 1025, 1}, {false, 5, 1021}, {false, 2, 1200, 1}};
/// The same for rows: teams of one thread up to a block, and rows longer than one pass of a block.
const UpdateSize row_update_sizes[] = {{true, 0, 5},    {true, 5, 0},      {true, 1, 1},
                                       {true, 70, 1},   {true, 40, 4},     {true, 33, 5},
                                       {true, 70, 20},  {true, 70, 20, 1}, {true, 9, 257},
                                       {true, 3, 1100}, {true, 3, 301, 1}};

}  // namespace

TEMPLATE_TEST_CASE("cuda adam: equals the naive loop, with rates by value and from memory",
                   "[simt][optimizer]", float, double) {
  for (const UpdateSize& size : dense_update_sizes) {
    for (const bool with_rates : {false, true})
      check_adam<EmulatedBackend, TestType>(size, adam_options[with_rates ? 0 : 1], with_rates);
  }
}

TEMPLATE_TEST_CASE("cuda adam_rows: updates only the named rows", "[simt][optimizer]", float,
                   double) {
  for (const UpdateSize& size : row_update_sizes) {
    for (const bool with_rates : {false, true})
      check_adam<EmulatedBackend, TestType>(size, adam_options[with_rates ? 0 : 1], with_rates);
  }
}

TEST_CASE(
    "cuda adam_many: every parameter equals a separate update, with several launches and both "
    "dtypes",
    "[simt][optimizer]") {
  // 70 parameters of each dtype: three launches in f32, five in f64, the last ones not full.
  std::vector<UpdateSize> sizes(std::begin(dense_update_sizes), std::end(dense_update_sizes));
  sizes.insert(sizes.end(), std::begin(row_update_sizes), std::end(row_update_sizes));
  check_adam_many<EmulatedBackend>(sizes, 70);

  DeviceArray<std::int32_t> integers({3});
  DeviceArray<float> numbers({3}, {1, 2, 3});
  const kernels::Adam refused[] = {
      {.parameter = numbers, .gradient = numbers, .m = numbers, .v = numbers},
      {.parameter = integers}};
  CHECK_THROWS_MATCHES(run_emulated<kernels::AdamMany>({.dense = refused}), DTypeError,
                       message_contains("adam_many: expected f32 or f64, got i32"));
  CHECK(numbers.doubles() == std::vector<double>{1, 2, 3});
}

TEMPLATE_TEST_CASE("cuda sgd: with and without momentum, by rows, rates by value and from memory",
                   "[simt][optimizer]", float, double) {
  for (const UpdateSize& size : dense_update_sizes) check_sgd<EmulatedBackend, TestType>(size);
  for (const UpdateSize& size : row_update_sizes) check_sgd<EmulatedBackend, TestType>(size);
}

TEMPLATE_TEST_CASE("cuda clip_factor: the norm, and the factor that reduces it to the limit",
                   "[simt][optimizer]", float, double) {
  using T = TestType;
  const auto run = [](const std::vector<T>& squares, double max_norm) {
    const DeviceArray<T> given({static_cast<std::int64_t>(squares.size())}, squares);
    DeviceArray<T> norm({1}), factor({1});
    run_emulated<kernels::ClipFactor>(
        {.squares = given, .norm = norm, .factor = factor, .max_norm = max_norm});
    return std::vector<double>{norm.data()[0], factor.data()[0]};
  };
  for_each_order([&] {
    CHECK(run({}, 1) == std::vector<double>{0, 1});
    CHECK(run({T{9}, T{16}}, 5) == std::vector<double>{5, 1});  // at the limit
    CHECK(run({T{9}, T{16}}, 2.5) == std::vector<double>{5, 0.5});
    const double infinity = std::numeric_limits<double>::infinity();
    CHECK(run({T{1}, static_cast<T>(infinity)}, 1) == std::vector<double>{infinity, 1});
    const auto unknown = run({T{100}, static_cast<T>(NAN)}, 1);
    CHECK(std::isnan(unknown[0]));
    CHECK(unknown[1] == 1);
    // Added in double: a sum in float would drop the ones.
    std::vector<T> many(700, T{1});
    many[3] = T{1} * (1 << 25);
    check_close<double>(
        std::span<const double>(run(many, 1)),
        std::vector<double>{std::sqrt((1 << 25) + 699.0), 1 / std::sqrt((1 << 25) + 699.0)},
        {2e-7, 0});
  });
}
