/// Rows gathered, coalesced and added, against loops in double, with the same bytes for any number
/// of threads.

#include "refrain/kernels/gather.hpp"
#include "refrain/kernels/run.hpp"
#include "row_sizes.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/naive.hpp"
#include "support/tensors.hpp"

using namespace refrain;
using namespace refrain::test;

TEMPLATE_TEST_CASE("gather_rows: copies the named rows", "[kernel][gather]", float, double) {
  using T = TestType;
  for (const auto [count, width] : row_sizes) {
    const Tensor from = random_tensor<T>({13, width}, 1);
    const Tensor ids = random_ids(count, 13, 2);
    const auto got = same_for_any_threads([&, count = count, width = width] {
      Tensor out = garbage<T>({count, width});
      kernels::run<kernels::GatherRows>(
          {.table = from.view(), .ids = ids.view(), .out = out.mutable_view()});
      return std::vector<Tensor>{out};
    });
    check_close<T>(got[0], naive::gather(doubles(from), integers(ids), width), tolerance::exact);
  }
}

TEMPLATE_TEST_CASE("coalesce_rows: sums by id in rising order of ids", "[kernel][gather]", float,
                   double) {
  using T = TestType;
  // One digit of the sort, two, three, and ids at the end of the range; many and few repeats.
  for (const std::int64_t vocabulary :
       {std::int64_t{1}, std::int64_t{7}, std::int64_t{2048}, std::int64_t{2049},
        std::int64_t{1} << 24, std::int64_t{2147483647}}) {
    for (const auto [count, width] : row_sizes) {
      INFO(count << " ids below " << vocabulary << ", rows of " << width);
      const Tensor ids = random_ids(count, vocabulary, 3);
      const Tensor dy = random_tensor<T>({count, width}, 4);
      const auto got = same_for_any_threads([&, count = count, width = width] {
        Tensor rows = Tensor::full({count}, -9, DType::i32), values = garbage<T>({count, width});
        kernels::run<kernels::CoalesceRows>({.ids = ids.view(),
                                             .dy = dy.view(),
                                             .rows = rows.mutable_view(),
                                             .values = values.mutable_view()});
        return std::vector<Tensor>{rows, values};
      });
      std::vector<std::int32_t> expected_rows;
      std::vector<double> expected_values;
      for (const auto& [id, sum] : naive::sums_by_id(integers(ids), doubles(dy), width)) {
        expected_rows.push_back(id);
        expected_values.insert(expected_values.end(), sum.begin(), sum.end());
      }
      expected_rows.resize(naive::at(count), -1);
      expected_values.resize(naive::at(count * width), 0.0);
      CHECK(integers(got[0]) == expected_rows);
      check_close<T>(
          got[1], expected_values,
          tolerance::pick<T>({2e-5, 2e-5}, {1e-13, 1e-13}));  // up to 40000 plain additions
    }
  }
}

TEST_CASE("coalesce_rows: adds in the order of positions", "[kernel][gather]") {
  // In float (1 + 1e8) - 1e8 is 0 and 1 + (1e8 - 1e8) is 1: only one order gives each.
  const Tensor ids = Tensor::from<std::int32_t>({6}, {4, 4, 2, 4, 2, 2});
  const Tensor dy = Tensor::from<float>({6, 1}, {1.0f, 1e8f, 1e8f, -1e8f, -1e8f, 1.0f});
  Tensor rows({6}, DType::i32), values({6, 1}, DType::f32);
  kernels::run<kernels::CoalesceRows>({.ids = ids.view(),
                                       .dy = dy.view(),
                                       .rows = rows.mutable_view(),
                                       .values = values.mutable_view()});
  CHECK(integers(rows) == std::vector<std::int32_t>{2, 4, -1, -1, -1, -1});
  CHECK(doubles(values) == std::vector<double>{1, 0, 0, 0, 0, 0});
}

TEST_CASE("coalesce_rows: rows of negative ids are left out", "[kernel][gather]") {
  const Tensor ids = Tensor::from<std::int32_t>({7}, {-1, 5, 3, -1, 5, -1, 0});
  const Tensor dy = Tensor::from<float>({7, 2}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14});
  Tensor rows({7}, DType::i32), values = garbage<float>({7, 2});
  kernels::run<kernels::CoalesceRows>({.ids = ids.view(),
                                       .dy = dy.view(),
                                       .rows = rows.mutable_view(),
                                       .values = values.mutable_view()});
  CHECK(integers(rows) == std::vector<std::int32_t>{0, 3, 5, -1, -1, -1, -1});
  CHECK(doubles(values) == std::vector<double>{13, 14, 5, 6, 12, 14, 0, 0, 0, 0, 0, 0, 0, 0});
  const Tensor none = Tensor::full({7}, -1, DType::i32);
  kernels::run<kernels::CoalesceRows>({.ids = none.view(),
                                       .dy = dy.view(),
                                       .rows = rows.mutable_view(),
                                       .values = values.mutable_view()});
  CHECK(integers(rows) == std::vector<std::int32_t>(7, -1));
  CHECK(doubles(values) == std::vector<double>(14, 0));
}

TEMPLATE_TEST_CASE("add_rows: adds to the named rows and leaves the others", "[kernel][gather]",
                   float, double) {
  using T = TestType;
  for (const auto [count, width] : row_sizes) {
    const std::int64_t vocabulary = 2 * count + 1;
    Tensor rows({count}, DType::i32);
    for (std::int32_t i = 0; i < static_cast<std::int32_t>(count); ++i) {
      rows.data<std::int32_t>()[i] =
          i % 5 == 3 ? -1 : static_cast<std::int32_t>(vocabulary) - 1 - 2 * i;
    }
    const Tensor values = random_tensor<T>({count, width}, 5);
    const Tensor before = random_tensor<T>({vocabulary, width}, 6);
    const auto got = same_for_any_threads([&] {
      Tensor to = before.clone();
      kernels::run<kernels::AddRows>(
          {.rows = rows.view(), .values = values.view(), .to = to.mutable_view()});
      return std::vector<Tensor>{to};
    });
    std::vector<double> expected = doubles(before);
    const auto added = doubles(values);
    for (std::int64_t j = 0; j < count; ++j) {
      const std::int32_t row = rows.data<std::int32_t>()[j];
      for (std::int64_t c = 0; row >= 0 && c < width; ++c)
        expected[naive::at(row * width + c)] += added[naive::at(j * width + c)];
    }
    check_close<T>(got[0], expected, tolerance::element<T>);
  }
}
