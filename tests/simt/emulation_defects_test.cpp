/// Defects planted in kernels: the emulated GPU detects them. Data races are undefined behaviour in
/// the emulation itself, and ThreadSanitizer ends the program: tests of them run in a separate one
/// (planted_main.cpp).

#include "simt/launches.hpp"
#include "simt/planted.hpp"
#include "support/catch.hpp"
#include "support/simt/orders.hpp"

using namespace refrain;
using namespace refrain::test;

TEST_CASE("emulation: a missing barrier shows as a wrong result", "[simt][defect]") {
  if (simt::emulation::under_tsan) return;
  const DeviceArray<int> in({64}, counted(64));
  std::vector<int> neighbours = counted(64);
  for (int& value : neighbours) value = (value + 1) % 64;
  int passed_on_right = 0;
  int runs = 0;
  for_each_order([&] {
    DeviceArray<int> out({64});
    start(64, planted::neighbour<true>, in.data(), out.data());
    CHECK(out.values() == neighbours);
    start(64, planted::neighbour<false>, in.data(), out.data());
    CHECK(out.values() != neighbours);

    start(64, planted::pass_on<true>, in.data(), out.data());
    CHECK(out.values() == std::vector<int>(64, 0));
    start(64, planted::pass_on<false>, in.data(), out.data());
    passed_on_right += out.values() == std::vector<int>(64, 0) ? 1 : 0;
    ++runs;
  });
  CHECK(passed_on_right == 1);  // in forward order the result is correct: hence the other orders
  CHECK(runs > 1);
}

TEST_CASE("emulation: a missing barrier at the end of a loop shows as a wrong result",
          "[simt][defect]") {
  if (simt::emulation::under_tsan) return;
  const DeviceArray<int> in({256}, counted(256));
  std::vector<int> expected;
  for (int t = 0; t < 64; ++t) expected.push_back(4 * ((t + 1) % 64) + 64 * (0 + 1 + 2 + 3));
  for_each_order([&] {
    DeviceArray<int> out({64});
    start(64, planted::sum_of_steps<true>, in.data(), out.data(), 4);
    CHECK(out.values() == expected);
    start(64, planted::sum_of_steps<false>, in.data(), out.data(), 4);
    CHECK(out.values() != expected);
  });
}

TEST_CASE("emulation: a wait for one group too few shows as a wrong result", "[simt][defect]") {
  const DeviceArray<float> in = random_array<float>({128}, 3);
  for_each_order([&] {
    DeviceArray<float> right({32}), wrong({32});
    start(32, planted::copied_tiles<1>, in.data(), right.data());
    start(32, planted::copied_tiles<2>, in.data(), wrong.data());
    for (const float value : right.span()) CHECK_FALSE(std::isnan(value));
    for (const float value : wrong.span()) CHECK(std::isnan(value));
  });
}

TEST_CASE(
    "emulation: errors that would hang a GPU or be undefined are reported with block, thread and "
    "source line",
    "[simt][defect]") {
  const DeviceArray<float> floats({32}, std::vector<float>(32, 1.0f));
  for_each_order([&] {
    DeviceArray<int> out({64});
    DeviceArray<float> result({64});
    CHECK_THAT(refusal([&] { start(64, planted::divergent_barrier, out.data()); }),
               contains("kernel: divergent __syncthreads: others wait at ") &&
                   contains("block (0,0,0) thread ") && contains("planted.hpp:"));
    CHECK_THAT(refusal([&] { start(64, planted::early_exit, out.data()); }),
               contains("threads wait for ever") && contains("in __syncthreads at ") &&
                   contains("24 of 64 threads have ended"));
    CHECK_THAT(refusal([&] { start(32, planted::absent_lanes, out.data()); }),
               contains("in __shfl_down_sync at ") && contains("for the lanes 0xffffffff") &&
                   contains("16 of 32 threads have ended"));
    CHECK_THAT(refusal([&] { start(32, planted::caller_outside_mask, out.data()); }),
               contains("__shfl_sync: the calling lane is not in the mask 0x0000ffff"));
    CHECK_THAT(refusal([&] { start(32, planted::source_outside_mask, out.data()); }),
               contains("__shfl_sync: reads lane 20 outside the mask"));
    CHECK_THAT(refusal([&] { start(32, planted::different_operations, out.data()); }),
               contains("divergent warp: ") && contains("while other lanes of the mask wait in "));
    CHECK_THAT(refusal([&] { start(32, planted::forgotten_copy, floats.data()); }),
               contains("ended with asynchronous copies under way"));
    CHECK_THAT(refusal([&] { start(1, planted::misaligned_copy, floats.data()); }),
               contains("copy_async<16>: an address is not a multiple of 16"));
    CHECK_THAT(refusal([&] { start(1, planted::read_pack, floats.data() + 1, result.data()); }),
               contains("load_pack: the address is not a multiple of 16"));
    CHECK_THAT(
        refusal([&] {
          simt::launch(
              {.name = "carved", .grid = 1, .block = 1, .shared_bytes = simt::piece_bytes<int>(20)},
              planted::write_carved_shared, 20, 0, out.data());
        }),
        contains("carved: dynamic shared memory: 160 bytes used, launched with 80"));
  });
}

TEST_CASE("emulation: launches that CUDA refuses are refused", "[simt][defect]") {
  DeviceArray<int> out({1});
  const auto refused = [&](const simt::Launch& how) {
    return refusal([&] { simt::launch(how, planted::write_global, 0, out.data()); });
  };
  CHECK_THAT(refused({.name = "k", .grid = 0, .block = 32}),
             contains("k: cannot be launched: an empty grid"));
  CHECK_THAT(refused({.name = "k", .grid = 1, .block = 1025}), contains("a block of 1025 threads"));
  CHECK_THAT(refused({.name = "k", .grid = dim3(1, 65536), .block = 32}),
             contains("a grid of 1 x 65536 x 1 blocks"));
  CHECK_THAT(refused({.name = "k", .grid = 1, .block = 32, .shared_bytes = 300000}),
             contains("300000 bytes of shared memory"));
  CHECK(refused({.name = "k", .grid = 1, .block = 1}).empty());
  CHECK(simt::blocks_for(0, 4) == 0);
  CHECK(simt::blocks_for(9, 4) == 3);
  CHECK_THROWS_AS(simt::blocks_for(std::int64_t{1} << 40, 4), Unsupported);
}
