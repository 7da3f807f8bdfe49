/// The k largest scores of each row on CUDA, emulated, against a full sort.

#include "support/cases/rows.hpp"
#include "support/simt/emulated_backend.hpp"

using namespace refrain;
using namespace refrain::test;

TEMPLATE_TEST_CASE("cuda top_k: equals a full sort, ties by index", "[simt][top_k]", float,
                   double) {
  using T = TestType;
  struct Case {
    std::int64_t rows, length, k;
    bool ties;
  };
  // One score; fewer scores than threads; k equal to the length; k larger than the number of
  // threads; both numbers of scores per thread; a last segment shorter than k; two launches; three
  // launches (f64 with the largest k).
  const Case cases[] = {{0, 5, 2, false},     {3, 1, 1, false},       {2, 5, 5, true},
                        {3, 255, 7, true},    {1, 700, 300, true},    {1, 1030, 1024, false},
                        {2, 2048, 10, false}, {1, 2049, 256, true},   {1, 4099, 100, false},
                        {2, 8193, 20, true},  {1, 20000, 1024, false}};
  for (const auto [rows, length, k, ties] : cases) {
    INFO(k << " of " << length << ", " << rows << " rows" << (ties ? ", many equal" : ""));
    auto scores = random_array<T>({rows, length}, 1);
    for (std::int64_t i = 0; ties && i < rows * length; ++i)
      scores.data()[i] = std::round(3 * scores.data()[i]);
    check_top_k<EmulatedBackend, T>(scores, k);
  }
}

TEMPLATE_TEST_CASE("cuda top_k: NaN last, infinities, zeros of both signs, all equal",
                   "[simt][top_k]", float, double) {
  using T = TestType;
  const T nan = std::numeric_limits<T>::quiet_NaN(), infinity = std::numeric_limits<T>::infinity();
  const T least = std::numeric_limits<T>::denorm_min(), largest = std::numeric_limits<T>::max();
  const std::vector<T> odd = {nan,  T{0},  -infinity, -nan,    -T{0},    infinity, -least,
                              T{0}, least, -largest,  largest, infinity, nan};
  const DeviceArray<T> scores({1, 13}, odd);
  for (const std::int64_t k : {2, 7, 11, 13}) check_top_k<EmulatedBackend, T>(scores, k);
  for (const T value : {T{2}, -T{2}, nan, -infinity, infinity}) {
    INFO("all " << value);
    check_top_k<EmulatedBackend, T>(DeviceArray<T>({2, 300}, std::vector<T>(600, value)), 40);
  }
  check_top_k<EmulatedBackend, T>(DeviceArray<T>({1, 8200}, std::vector<T>(8200, T{2})), 290);
  // A segment of NaN passes indices to the next launch, which must rank them after all other
  // scores.
  std::vector<T> late(8200, nan);
  late[8195] = T{1};
  late[8199] = -infinity;
  check_top_k<EmulatedBackend, T>(DeviceArray<T>({1, 8200}, late), 5);
}

TEMPLATE_TEST_CASE("cuda top_k: k larger than the number of threads", "[simt][top_k]", float,
                   double) {
  // 256 high scores, one in the registers of each thread: the remaining 44 of the 300 are lower
  // than all of these.
  using T = TestType;
  const std::int64_t length = 32768 / static_cast<std::int64_t>(sizeof(T)), period = length / 8;
  auto scores = random_array<T>({1, length}, 3);
  for (std::int64_t i = 0; i < length; ++i) scores.data()[i] += T(i % period < 32 ? 100 : 0);
  check_top_k<EmulatedBackend, T>(scores, 300);
}

TEST_CASE("cuda top_k: refuses k above its limit", "[simt][top_k]") {
  const auto scores = random_array<float>({1, 2000}, 1);
  DeviceArray<float> values({1, 1025});
  DeviceArray<std::int32_t> indices({1, 1025});
  const kernels::TopK args{.scores = scores, .values = values, .indices = indices};
  CHECK_THROWS_MATCHES(run_emulated(args), Unsupported,
                       message_contains("expected k up to 1024 on CUDA, got 1025"));
}
