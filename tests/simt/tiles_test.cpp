/// Products of tiles and sums of outer products, emulated, against naive loops, in every arithmetic
/// and every layout of the factors.

#include "kernels/tiling/tiles.cuh"
#include "kernels/matmul/outer_products.cuh"
#include "support/cases/outputs.hpp"
#include "support/catch.hpp"
#include "support/guarded_array.hpp"
#include "support/naive.hpp"
#include "support/simt/orders.hpp"

using namespace refrain;
using namespace refrain::test;
using namespace refrain::kernels::cuda;

namespace {

template <class T>
constexpr TileShape shape{
    .rows = 32, .columns = 32, .depth = 16, .row_warps = 2, .column_warps = 1, .stages = 3};

/// The start and extents of a factor's tile: side (m or n) by depth.
template <class T>
struct Factor {
  const T* at;
  std::int64_t side;
  std::int64_t depth;
};

template <Contiguous contiguous, class T>
__device__ auto rows_of(const Factor<T>& factor, std::int64_t first) {
  if constexpr (contiguous == Contiguous::depth) {
    return DepthRows<T>{factor.at, factor.depth, first, factor.side, factor.depth, shape<T>.depth};
  } else {
    return SideRows<T>{factor.at, factor.side, first, factor.side, factor.depth, shape<T>.depth};
  }
}

/// c [M,N], one block per tile; a and b are streamed.
template <class T, MathMode mode, Contiguous a_contiguous, Contiguous b_contiguous, bool aligned>
__global__ void __launch_bounds__(64) streamed_product(Factor<T> a, Factor<T> b, T* c) {
  using Product = TileProduct<T, mode, shape<T>, a_contiguous, b_contiguous, aligned>;
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * 32;
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.y) * 32;
  simt::SharedCarver carver;
  const auto shared = Product::take(carver);
  Product sum;
  sum.clear();
  sum.add(shared, static_cast<int>((a.depth + Product::depth - 1) / Product::depth),
          rows_of<a_contiguous>(a, row), rows_of<b_contiguous>(b, column));
  sum.visit([&](int i, int j, T value) {
    if (row + i < a.side && column + j < b.side) c[(row + i) * b.side + column + j] = value;
  });
}

/// The same with a's tile loaded to shared memory first.
template <class T, MathMode mode, bool aligned>
__global__ void __launch_bounds__(64) resident_product(Factor<T> a, Factor<T> b, T* c) {
  using Product = TileProduct<T, mode, shape<T>, Contiguous::depth, Contiguous::side, aligned>;
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * 32;
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.y) * 32;
  const int slices = static_cast<int>((a.depth + Product::depth - 1) / Product::depth);
  const int stride = resident_stride<mode>(slices * Product::depth);
  simt::SharedCarver carver;
  T* const tile = carver.take<T>(32 * stride);
  T* const panels = Product::take_b(carver);
  for (int i = static_cast<int>(threadIdx.x); i < 32 * slices * Product::depth;
       i += Product::threads) {
    const int m = i / (slices * Product::depth);
    const int k = i % (slices * Product::depth);
    tile[m * stride + k] = row + m < a.side && k < a.depth ? a.at[(row + m) * a.depth + k] : T{0};
  }
  Product sum;
  sum.clear();
  sum.add_resident(tile, stride, panels, slices, rows_of<Contiguous::side>(b, column));
  sum.visit([&](int i, int j, T value) {
    if (row + i < a.side && column + j < b.side) c[(row + i) * b.side + column + j] = value;
  });
}

struct Extents {
  std::int64_t m, n, k;
};

template <class T, MathMode mode, Contiguous a_contiguous, Contiguous b_contiguous>
void check_streamed() {
  using Product = TileProduct<T, mode, shape<T>, a_contiguous, b_contiguous, true>;
  const bool a_transposed = a_contiguous == Contiguous::side;
  const bool b_transposed = b_contiguous == Contiguous::depth;
  for (const auto& [m, n, k] : {Extents{32, 32, 64}, Extents{33, 8, 40}, Extents{1, 1, 1},
                                Extents{40, 36, 7}, Extents{5, 31, 50}}) {
    for (const int offset : {0, 1}) {
      INFO(m << " x " << k << " x " << n << ", " << offset << " past a multiple of 16 bytes");
      const auto a = random_array<T>(a_transposed ? Shape{k, m} : Shape{m, k}, 1, 1, offset);
      const auto b = random_array<T>(b_transposed ? Shape{n, k} : Shape{k, n}, 2, 1, offset);
      const auto expected =
          naive::matmul(a.doubles(), b.doubles(), {}, m, n, k, a_transposed, b_transposed);
      const bool aligned = offset == 0 && (a_transposed ? m : k) % simt::Pack<T>::count == 0 &&
                           (b_transposed ? k : n) % simt::Pack<T>::count == 0;
      for_each_order([&, m = m, n = n, k = k] {
        DeviceArray<T> c({m, n});
        const simt::Launch how{.name = "product",
                               .grid = dim3(simt::blocks_for(m, 32), simt::blocks_for(n, 32)),
                               .block = 64,
                               .shared_bytes = Product::shared_bytes()};
        const Factor<T> left{a.data(), m, k}, right{b.data(), n, k};
        if (aligned) {
          simt::launch(how, streamed_product<T, mode, a_contiguous, b_contiguous, true>, left,
                       right, c.data());
        } else {
          simt::launch(how, streamed_product<T, mode, a_contiguous, b_contiguous, false>, left,
                       right, c.data());
        }
        check_close<T>(c.span(), expected, tolerance_of<T>(mode));
      });
    }
  }
}

template <class T, MathMode mode>
void check_layouts() {
  check_streamed<T, mode, Contiguous::depth, Contiguous::depth>();
  check_streamed<T, mode, Contiguous::depth, Contiguous::side>();
  check_streamed<T, mode, Contiguous::side, Contiguous::depth>();
  check_streamed<T, mode, Contiguous::side, Contiguous::side>();
}

template <class T, MathMode mode>
void check_resident() {
  using Product = TileProduct<T, mode, shape<T>, Contiguous::depth, Contiguous::side, true>;
  for (const auto& [m, n, k] : {Extents{40, 36, 48}, Extents{3, 33, 17}}) {
    INFO(m << " x " << k << " x " << n);
    const auto a = random_array<T>({m, k}, 1);
    const auto b = random_array<T>({k, n}, 2);
    const auto expected = naive::matmul(a.doubles(), b.doubles(), {}, m, n, k, false, false);
    const int depth = static_cast<int>((k + Product::depth - 1) / Product::depth) * Product::depth;
    for_each_order([&, m = m, n = n, k = k] {
      DeviceArray<T> c({m, n});
      const simt::Launch how{
          .name = "product",
          .grid = dim3(simt::blocks_for(m, 32), simt::blocks_for(n, 32)),
          .block = 64,
          .shared_bytes =
              simt::piece_bytes<T>(32 * resident_stride<mode>(depth)) + Product::shared_bytes_b()};
      const Factor<T> left{a.data(), m, k}, right{b.data(), n, k};
      if (n % simt::Pack<T>::count == 0) {
        simt::launch(how, resident_product<T, mode, true>, left, right, c.data());
      } else {
        simt::launch(how, resident_product<T, mode, false>, left, right, c.data());
      }
      check_close<T>(c.span(), expected, tolerance_of<T>(mode));
    });
  }
}

/// Rows of a matrix; every fifth one is absent.
template <class T>
struct SomeRows {
  const T* at;
  std::int64_t count;
  std::int64_t width;
  __device__ const T* operator()(std::int64_t task, std::int64_t p) const {
    return p % 5 == 3 ? nullptr : at + (task * count + p) * width;
  }
};
template <class T>
struct AllRows {
  const T* at;
  std::int64_t width;
  __device__ const T* operator()(std::int64_t, std::int64_t p) const { return at + p * width; }
};

}  // namespace

TEMPLATE_TEST_CASE("cuda tiles: exact products of streamed factors in every layout",
                   "[simt][tiles]", float, double) {
  check_layouts<TestType, MathMode::exact>();
}

TEST_CASE("cuda tiles: products on tensor cores, tf32 and bf16, in every layout", "[simt][tiles]") {
  check_layouts<float, MathMode::tf32>();
  check_layouts<float, MathMode::bf16>();
}

TEST_CASE("cuda tiles: a factor in shared memory", "[simt][tiles]") {
  check_resident<float, MathMode::exact>();
  check_resident<double, MathMode::exact>();
  check_resident<float, MathMode::tf32>();
  check_resident<float, MathMode::bf16>();
}

TEMPLATE_TEST_CASE(
    "cuda outer_products: sums over rows of several tasks, bit-identical in every order",
    "[simt][tiles]", float, double) {
  using T = TestType;
  struct Case {
    std::int64_t tasks, count, inner, columns;
  };
  for (const auto& [tasks, count, inner, columns] :
       {Case{1, 0, 3, 4}, Case{2, 40, 68, 4}, Case{1, 700, 5, 9}, Case{2, 513, 8, 4}}) {
    INFO(tasks << " tasks, " << count << " rows, " << inner << " x " << columns);
    const auto a = random_array<T>({tasks, count, inner}, 1);
    const auto b = random_array<T>({count, columns}, 2);
    const auto kept = random_array<T>({tasks, inner, columns}, 3);
    const auto left = a.doubles(), right = b.doubles();
    std::vector<double> expected(naive::at(tasks * inner * columns));
    for (std::int64_t task = 0; task < tasks; ++task) {
      for (std::int64_t p = 0; p < count; ++p) {
        if (p % 5 == 3) continue;
        for (std::int64_t i = 0; i < inner; ++i) {
          for (std::int64_t j = 0; j < columns; ++j) {
            expected[naive::at((task * inner + i) * columns + j)] +=
                left[naive::at((task * count + p) * inner + i)] * right[naive::at(p * columns + j)];
          }
        }
      }
    }
    const OuterProducts<T, SomeRows<T>, AllRows<T>> products{
        .a = {a.data(), count, inner},
        .b = {b.data(), columns},
        .count = count,
        .inner = inner,
        .columns = columns,
        .tasks = tasks,
        .aligned = inner % simt::Pack<T>::count == 0 && columns % simt::Pack<T>::count == 0};
    for (const bool add : {false, true}) {
      std::vector<T> first;
      for_each_order([&, tasks = tasks, count = count, inner = inner, columns = columns] {
        DeviceArray<T> out({tasks, inner, columns});
        if (add) std::copy(kept.span().begin(), kept.span().end(), out.data());
        DeviceArray<T> parts({outer_parts(count, inner, columns, tasks)});
        sum_of_outer_products("outer_products", products, add, out.data(), parts.data());
        std::vector<double> sums = expected;
        for (std::size_t i = 0; add && i < sums.size(); ++i) sums[i] += kept.doubles()[i];
        check_close<T>(out.span(), sums, tolerance::sum<T>);
        const std::vector<T> got(out.span().begin(), out.span().end());
        if (first.empty()) first = got;
        CHECK(got == first);
      });
    }
  }
}

TEST_CASE("cuda outer_products: on tensor cores", "[simt][tiles]") {
  const std::int64_t count = 300, inner = 68, columns = 20;
  const auto a = random_array<float>({count, inner}, 1),
             b = random_array<float>({count, columns}, 2);
  const auto expected =
      naive::matmul(a.doubles(), b.doubles(), {}, inner, columns, count, true, false);
  const OuterProducts<float, AllRows<float>, AllRows<float>> products{.a = {a.data(), inner},
                                                                      .b = {b.data(), columns},
                                                                      .count = count,
                                                                      .inner = inner,
                                                                      .columns = columns,
                                                                      .aligned = true};
  for (const MathMode mode : {MathMode::tf32, MathMode::bf16}) {
    const MathScope scope(mode);
    DeviceArray<float> out({inner, columns}), parts({outer_parts(count, inner, columns)});
    sum_of_outer_products("outer_products", products, false, out.data(), parts.data());
    check_close<float>(
        out.span(), expected,
        {tolerance_of<float>(mode).relative, 20 * tolerance_of<float>(mode).absolute});
  }
}
