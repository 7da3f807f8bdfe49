/// Tests of the emulated GPU: results that CUDA defines.

#include <numeric>
#include <set>

#include "simt/launches.hpp"
#include "simt/planted.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/guarded_array.hpp"
#include "support/simt/orders.hpp"

using namespace refrain;
using namespace refrain::test;
using simt::EmulationError;
using simt::emulation::Order;

namespace {

__global__ void shuffles(int* out, int width) {
  const int lane = simt::lane();
  const int value = 100 + lane;
  out[lane] = __shfl_sync(simt::full_mask, value, 3, width);
  out[32 + lane] = __shfl_xor_sync(simt::full_mask, value, 1, width);
  out[64 + lane] = __shfl_down_sync(simt::full_mask, value, 2, width);
  out[96 + lane] = __shfl_up_sync(simt::full_mask, value, 2, width);
}

__global__ void half_warps(int* out) {
  const int lane = simt::lane();
  const unsigned mask = lane < 16 ? 0x0000ffffu : 0xffff0000u;
  int sum = lane;
  for (int distance = 8; distance > 0; distance /= 2) sum += __shfl_xor_sync(mask, sum, distance);
  out[lane] = sum;
}

__global__ void votes(unsigned* out) {
  const int lane = simt::lane();
  out[0 * 32 + lane] = __ballot_sync(simt::full_mask, lane % 3 == 0 ? 1 : 0);
  out[1 * 32 + lane] = static_cast<unsigned>(__any_sync(simt::full_mask, lane == 5 ? 1 : 0));
  out[2 * 32 + lane] = static_cast<unsigned>(__all_sync(simt::full_mask, lane == 5 ? 1 : 0));
  out[3 * 32 + lane] = static_cast<unsigned>(__all_sync(simt::full_mask, 1));
}

__global__ void block_votes(int* out) {
  const int t = static_cast<int>(threadIdx.x);
  const int count = __syncthreads_count(t < 10 ? 1 : 0);
  const int all = __syncthreads_and(t < 63 ? 1 : 0);
  const int any = __syncthreads_or(t == 63 ? 1 : 0);
  out[t] = 100 * count + 10 * all + any;
}

__global__ void reductions(const float* in, float* out) {
  REFRAIN_SHARED_ARRAY(float, scratch, 4);
  const int t = static_cast<int>(threadIdx.x);
  out[t] = simt::block_sum<4>(in[t], scratch);
  out[128 + t] = simt::block_max<4>(in[t], scratch);
  out[256 + t] = simt::warp_sum<8>(in[t]);
  out[384 + t] = simt::warp_max<4>(in[t]);
}

__global__ void count_all(int* counter, unsigned* largest) {
  atomicAdd(counter, 1);
  atomicMax(largest, blockIdx.x * blockDim.x + threadIdx.x);
}

__global__ void note_order(int* order, int* next) {
  order[atomicAdd(next, 1)] = static_cast<int>(blockIdx.x * 8 + threadIdx.x);
}

__global__ void carve(std::uint64_t* out) {
  simt::SharedCarver carver;
  char* const first = carver.take<char>(3);
  float* const second = carver.take<float>(5);
  double* const third = carver.take<double>(2);
  out[0] = reinterpret_cast<std::uintptr_t>(first) % 16;
  out[1] = reinterpret_cast<std::uintptr_t>(second) % 16;
  out[2] = reinterpret_cast<std::uintptr_t>(third) % 16;
  out[3] = third[1] == third[1] ? 1 : 0;  // NaN before it is written
}

__global__ void positions(int* out) {
  const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  out[block * (blockDim.x * blockDim.y * blockDim.z) + thread] =
      static_cast<int>(1000 * block + thread);
}

__global__ void zero_filled(const float* in, float* out) {
  REFRAIN_SHARED_ARRAY(float, tile, 128);
  const int t = static_cast<int>(threadIdx.x);
  simt::copy_async<16>(tile + 4 * t, in + 4 * t, t % 2 == 0);
  simt::commit_copies();
  simt::wait_copies<0>();
  for (int i = 0; i < 4; ++i) out[4 * t + i] = tile[4 * t + i];
}

__global__ void read_before_wait(const float* in, float* out) {
  REFRAIN_SHARED_ARRAY(float, tile, 32);
  const int t = static_cast<int>(threadIdx.x);
  simt::copy_async<4>(tile + t, in + t);
  simt::commit_copies();
  out[t] = tile[t];
  simt::wait_copies<0>();
}

/// d[16,8] = a[16,16] b[16,8] in bf16; a is loaded by load_matrix, b by load_matrix<true>.
__global__ void product_bf16(const float* a, const float* b, float* d) {
  REFRAIN_SHARED_ARRAY(std::uint32_t, left_tile, 16 * 8);   // [16][16] bf16
  REFRAIN_SHARED_ARRAY(std::uint32_t, right_tile, 16 * 4);  // [16][8] bf16
  const int lane = simt::lane();
  for (int i = lane; i < 16 * 8; i += 32) left_tile[i] = simt::to_bf16x2(a[2 * i], a[2 * i + 1]);
  for (int i = lane; i < 16 * 4; i += 32) right_tile[i] = simt::to_bf16x2(b[2 * i], b[2 * i + 1]);
  __syncwarp();
  std::uint32_t left[4];
  std::uint32_t right[4];
  // Matrices of a: rows 0 to 7, rows 8 to 15, then both again for k = 8 to 15.
  simt::load_matrix(left, left_tile + (lane % 16) * 8 + lane / 16 * 4);
  // Matrices of b: k = 0 to 7, k = 8 to 15; the last two are not used.
  simt::load_matrix<true>(right, right_tile + (lane % 16) * 4);
  const std::uint32_t used[2] = {right[0], right[1]};
  float sum[4] = {0, 0, 0, 0};
  simt::mma_bf16(sum, left, used);
  for (int i = 0; i < 4; ++i) d[(lane / 4 + i / 2 * 8) * 8 + 2 * (lane % 4) + i % 2] = sum[i];
}

__global__ void throws(int* out) {
  if (threadIdx.x == 3) throw std::runtime_error("from thread 3");
  __syncthreads();
  out[threadIdx.x] = 1;
}

template <class T>
concept HasAtomicAdd = requires(T* address) {
  atomicAdd(address, T{1});
};
static_assert(HasAtomicAdd<int> && HasAtomicAdd<unsigned long long>);
static_assert(!HasAtomicAdd<float> && !HasAtomicAdd<double>,
              "a float atomic would make sums depend on the order of threads");

}  // namespace

TEST_CASE("emulation: shuffles read the lanes that CUDA defines", "[simt]") {
  for (const int width : {32, 8}) {
    for_each_order([&] {
      DeviceArray<int> out({128});
      start(32, shuffles, out.data(), width);
      for (int lane = 0; lane < 32; ++lane) {
        const int place = lane % width, base = lane - place;
        INFO("lane " << lane << ", width " << width);
        CHECK(out.data()[lane] == 100 + base + 3);
        CHECK(out.data()[32 + lane] == 100 + (lane ^ 1));
        CHECK(out.data()[64 + lane] == 100 + (place + 2 < width ? lane + 2 : lane));
        CHECK(out.data()[96 + lane] == 100 + (place >= 2 ? lane - 2 : lane));
      }
    });
  }
}

TEST_CASE("emulation: two halves of a warp work independently", "[simt]") {
  for_each_order([&] {
    DeviceArray<int> out({32});
    start(32, half_warps, out.data());
    for (int lane = 0; lane < 32; ++lane) CHECK(out.data()[lane] == (lane < 16 ? 120 : 376));
  });
}

TEST_CASE("emulation: votes of a warp and of a block", "[simt]") {
  for_each_order([&] {
    DeviceArray<std::int32_t> out({128});
    start(32, votes, reinterpret_cast<unsigned*>(out.data()));
    for (int lane = 0; lane < 32; ++lane) {
      CHECK(static_cast<unsigned>(out.data()[lane]) == 0x49249249u);
      CHECK(out.data()[32 + lane] == 1);
      CHECK(out.data()[64 + lane] == 0);
      CHECK(out.data()[96 + lane] == 1);
    }
    DeviceArray<int> block({64});
    start(64, block_votes, block.data());
    CHECK(block.values() == std::vector<int>(64, 1001));
  });
}

TEST_CASE("emulation: sums and maxima over warps and blocks reach every thread", "[simt]") {
  const DeviceArray<float> in = random_array<float>({128}, 1);
  const auto x = in.doubles();
  for_each_order([&] {
    DeviceArray<float> out({512});
    start(128, reductions, in.data(), out.data());
    std::vector<double> expected;
    for (int t = 0; t < 128; ++t) expected.push_back(std::accumulate(x.begin(), x.end(), 0.0));
    for (int t = 0; t < 128; ++t) expected.push_back(*std::max_element(x.begin(), x.end()));
    for (int t = 0; t < 128; ++t)
      expected.push_back(std::accumulate(x.begin() + t / 8 * 8, x.begin() + t / 8 * 8 + 8, 0.0));
    for (int t = 0; t < 128; ++t)
      expected.push_back(*std::max_element(x.begin() + t / 4 * 4, x.begin() + t / 4 * 4 + 4));
    check_close<float>(out.span(), expected, tolerance::sum<float>);
  });
}

TEST_CASE("emulation: integer atomics count every thread of every block", "[simt]") {
  for_each_order([&] {
    DeviceArray<int> counter({1}, {0}), largest({1}, {0});
    simt::launch({.name = "count_all", .grid = 5, .block = 96}, count_all, counter.data(),
                 reinterpret_cast<unsigned*>(largest.data()));
    CHECK(counter.data()[0] == 480);
    CHECK(largest.data()[0] == 479);
  });
}

TEST_CASE("emulation: orders differ, and a seed repeats its order", "[simt]") {
  const auto order_under = [](const simt::emulation::Schedule& schedule) {
    simt::emulation::set_schedule(schedule);
    DeviceArray<int> order({32}), next({1}, {0});
    simt::launch({.name = "note_order", .grid = 4, .block = 8}, note_order, order.data(),
                 next.data());
    simt::emulation::set_schedule({});
    return order.values();
  };
  const auto forward = order_under({Order::forward, 0});
  const auto reverse = order_under({Order::reverse, 0});
  const auto random = order_under({Order::random, 1});
  CHECK(forward == counted(32));
  CHECK(std::vector<int>(reverse.rbegin(), reverse.rend()) == counted(32));
  CHECK(random == order_under({Order::random, 1}));
  CHECK(random != order_under({Order::random, 2}));
  CHECK(random != forward);
  CHECK(std::set<int>(random.begin(), random.end()).size() == 32);
}

TEST_CASE("emulation: blocks and threads in three dimensions", "[simt]") {
  for_each_order([&] {
    DeviceArray<int> out({2 * 3 * 4 * 24});
    simt::launch({.name = "positions", .grid = dim3(2, 3, 4), .block = dim3(4, 3, 2)}, positions,
                 out.data());
    for (int i = 0; i < 2 * 3 * 4 * 24; ++i) REQUIRE(out.data()[i] == i / 24 * 1000 + i % 24);
  });
}

TEST_CASE("emulation: carved shared memory is aligned and initially holds NaN", "[simt]") {
  DeviceArray<std::int64_t> out({4});
  const std::size_t bytes =
      simt::piece_bytes<char>(3) + simt::piece_bytes<float>(5) + simt::piece_bytes<double>(2);
  CHECK(bytes == 16 + 32 + 16);
  simt::launch({.name = "carve", .grid = 1, .block = 1, .shared_bytes = bytes}, carve,
               reinterpret_cast<std::uint64_t*>(out.data()));
  CHECK(std::vector<std::int64_t>(out.span().begin(), out.span().end()) ==
        std::vector<std::int64_t>{0, 0, 0, 0});
}

TEST_CASE("emulation: asynchronous copies finish at the wait, with zeros for a null source",
          "[simt]") {
  const DeviceArray<float> in = random_array<float>({128}, 2);
  for_each_order([&] {
    DeviceArray<float> out({128});
    start(32, zero_filled, in.data(), out.data());
    for (int i = 0; i < 128; ++i) CHECK(out.data()[i] == (i / 4 % 2 == 0 ? in.data()[i] : 0.0f));
    DeviceArray<float> tiles({32});
    start(32, planted::copied_tiles<1>, in.data(), tiles.data());
    std::vector<double> expected;
    for (int t = 0; t < 32; ++t) {
      double sum = 0;
      for (int tile = 0; tile < 4; ++tile) sum += in.data()[tile * 32 + (t ^ 1)];
      expected.push_back(sum);
    }
    check_close<float>(tiles.span(), expected, tolerance::sum<float>);
  });
  DeviceArray<float> early({32});
  start(32, read_before_wait, in.data(), early.data());
  for (const float value : early.span()) CHECK(std::isnan(value));
}

TEST_CASE("emulation: tensor-core products equal products of the rounded matrices", "[simt]") {
  // Halves of small integers: they and their sums are exact in tf32 and bf16.
  const auto small = [](std::int64_t count, int step) {
    std::vector<float> values;
    for (int i = 0; i < count; ++i) values.push_back(static_cast<float>(i * step % 17 - 8) * 0.5f);
    return values;
  };
  const auto product = [](const DeviceArray<float>& a, const DeviceArray<float>& b, int depth) {
    std::vector<double> d;
    for (int i = 0; i < 16; ++i) {
      for (int j = 0; j < 8; ++j) {
        double sum = 0;
        for (int k = 0; k < depth; ++k)
          sum += static_cast<double>(a.data()[i * depth + k]) * b.data()[k * 8 + j];
        d.push_back(sum);
      }
    }
    return d;
  };
  const DeviceArray<float> a8({16, 8}, small(128, 5)), b8({8, 8}, small(64, 7));
  const DeviceArray<float> a16({16, 16}, small(256, 3)), b16({16, 8}, small(128, 11));
  for_each_order([&] {
    DeviceArray<float> d8({16, 8}), d16({16, 8}), wrong({16, 8});
    start(32, planted::product_tf32<false>, a8.data(), b8.data(), d8.data());
    check_close<float>(d8.span(), product(a8, b8, 8), tolerance::exact);
    start(32, product_bf16, a16.data(), b16.data(), d16.data());
    check_close<float>(d16.span(), product(a16, b16, 16), tolerance::exact);
    start(32, planted::product_tf32<true>, a8.data(), b8.data(), wrong.data());
    CHECK_FALSE(same_bytes(wrong, d8));  // swapped registers of a
  });
}

TEST_CASE("emulation: tf32 and bf16 round as the hardware does", "[simt]") {
  const float step = 0x1p-10f;  // spacing of tf32 just above 1
  CHECK(std::bit_cast<float>(simt::to_tf32(1 + 0.49f * step)) == 1);
  CHECK(std::bit_cast<float>(simt::to_tf32(1 + 0.5f * step)) == 1 + step);
  CHECK(std::bit_cast<float>(simt::to_tf32(-1 - 0.5f * step)) == -1 - step);
  CHECK(simt::bf16_low(simt::to_bf16x2(1 + 0x1p-8f, 3)) == 1);                    // half: to even
  CHECK(simt::bf16_low(simt::to_bf16x2(1 + 3 * 0x1p-8f, 3)) == 1 + 2 * 0x1p-7f);  // half: to even
  CHECK(simt::bf16_low(simt::to_bf16x2(1 + 0x1.1p-8f, 3)) == 1 + 0x1p-7f);
  CHECK(simt::bf16_high(simt::to_bf16x2(1, -3)) == -3);
}

TEST_CASE("emulation: an exception in a kernel reaches the caller, and the next launch works",
          "[simt]") {
  for_each_order([&] {
    DeviceArray<int> out({64});
    CHECK_THROWS_WITH(start(64, throws, out.data()), "from thread 3");
    const DeviceArray<int> in({64}, counted(64));
    start(64, planted::neighbour<true>, in.data(), out.data());
    CHECK(out.data()[63] == 0);
  });
}

TEST_CASE("emulation: launches are counted", "[simt]") {
  DeviceArray<int> out({1});
  const std::int64_t before = simt::emulation::launches();
  for (int i = 0; i < 3; ++i) start(1, planted::write_global, 0, out.data());
  CHECK(simt::emulation::launches() == before + 3);
}
