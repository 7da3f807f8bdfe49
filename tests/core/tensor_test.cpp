/// Shapes and tensors.

#include <vector>

#include "refrain/core/tensor.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

using namespace refrain;
using namespace refrain::test;

TEST_CASE("shape: extents, rows and text", "[core][shape]") {
  const Shape shape{2, 3, 4};
  CHECK(shape.rank() == 3);
  CHECK(shape.numel() == 24);
  CHECK(shape.rows() == 6);
  CHECK(shape[0] == 2);
  CHECK(shape[-1] == 4);
  CHECK(shape.str() == "[2, 3, 4]");
  CHECK(shape.with(-1, 7) == Shape{2, 3, 7});
  CHECK(shape != Shape{2, 3});
  CHECK(Shape().numel() == 1);
  CHECK(Shape{5, 0, 3}.numel() == 0);
}

TEST_CASE("shape: impossible extents are refused", "[core][shape]") {
  CHECK_THROWS_MATCHES((Shape{2, -1}), ShapeError,
                       message_contains("expected extents >= 0, got -1"));
  CHECK_THROWS_MATCHES((Shape{1, 1, 1, 1, 1, 1, 1}), ShapeError, message_contains("rank 7"));
  CHECK_THROWS_AS((Shape{std::int64_t{1} << 32, std::int64_t{1} << 31}), ShapeError);
  CHECK((Shape{std::int64_t{1} << 32, std::int64_t{1} << 30}).numel() == std::int64_t{1} << 62);
  CHECK_THROWS_AS((Shape{std::int64_t{1} << 40, std::int64_t{1} << 40, 0}), ShapeError);
  CHECK((Shape{std::int64_t{1} << 62, 0}).numel() == 0);
  CHECK_THROWS_MATCHES((Shape{2, 3}[2]), ShapeError,
                       message_contains("expected an axis of [2, 3], got 2"));
  CHECK_THROWS_AS((Shape{2, 3}[-3]), ShapeError);
  CHECK_THROWS_AS((Shape{2, 3}.with(0, -4)), ShapeError);
}

TEST_CASE("tensor: copies, slices and reshapes share elements, clones do not", "[core][tensor]") {
  Tensor a = Tensor::from<float>({3, 2}, {0, 1, 2, 3, 4, 5});
  Tensor shared = a;
  Tensor row = a.slice(1, 2);
  Tensor flat = a.reshape({6});
  Tensor cloned = a.clone();
  CHECK(row.shape() == Shape{1, 2});
  CHECK(flat.shape() == Shape{6});
  a.data<float>()[3] = 30;
  CHECK(shared.data<float>()[3] == 30);
  CHECK(row.data<float>()[1] == 30);
  CHECK(flat.data<float>()[3] == 30);
  CHECK(cloned.data<float>()[3] == 3);
  CHECK(row.shares_storage_with(a));
  CHECK_FALSE(cloned.shares_storage_with(a));
  CHECK_FALSE(a.unique());
  CHECK(cloned.unique());
  a = Tensor();
  CHECK_FALSE(a.defined());
  CHECK(row.data<float>()[0] == 2);  // a slice keeps the storage alive
}

TEST_CASE("tensor: invalid arguments are rejected", "[core][tensor]") {
  Tensor a({2, 3}, DType::f32);
  CHECK_THROWS_MATCHES(a.reshape({4}), ShapeError,
                       message_contains("expected a shape of 6 elements for [2, 3], got [4]"));
  CHECK_THROWS_AS(a.slice(1, 3), ShapeError);
  CHECK_THROWS_AS(a.slice(-1, 1), ShapeError);
  CHECK_THROWS_AS(a.slice(2, 1), ShapeError);
  CHECK_THROWS_AS(Tensor({}, DType::f32).slice(0, 0), ShapeError);
  CHECK_THROWS_MATCHES(a.data<double>(), DTypeError,
                       message_contains("expected a tensor of f64, got f32"));
  CHECK_THROWS_AS(a.span<std::int32_t>(), DTypeError);
  CHECK_THROWS_AS(Tensor().data<float>(), ShapeError);
  CHECK_THROWS_AS(a.item(), ShapeError);
  CHECK_THROWS_AS(a.copy_from(Tensor({3, 2}, DType::f32)), ShapeError);
  CHECK_THROWS_AS(a.copy_from(Tensor({2, 3}, DType::f64)), DTypeError);
  CHECK_THROWS_AS(Tensor::from<float>({3}, {1, 2}), ShapeError);
}

TEST_CASE("tensor: sizes past the address space throw before anything is allocated",
          "[core][tensor]") {
  const PoolStats before = pool_stats();
  CHECK_THROWS_AS(Tensor({std::int64_t{1} << 62}, DType::f64), ShapeError);
  CHECK_THROWS_AS(Tensor({std::int64_t{1} << 31, std::int64_t{1} << 31}, DType::f32), ShapeError);
  const PoolStats after = pool_stats();
  CHECK(after.system_allocations == before.system_allocations);
  CHECK(after.used_bytes == before.used_bytes);
}

TEST_CASE("tensor: fill, convert, item, zero, empty", "[core][tensor]") {
  const Tensor ones = Tensor::full({5}, 1.75, DType::f64);
  CHECK(doubles(ones.to(DType::f32)) == std::vector<double>(5, 1.75));
  CHECK(integers(ones.to(DType::i32)) == std::vector<std::int32_t>(5, 1));
  CHECK(ones.to(DType::f64).shares_storage_with(ones));
  CHECK(Tensor::full({1, 1}, 9, DType::i64).item() == 9);
  CHECK(doubles(Tensor::zeros({3}, DType::f32)) == std::vector<double>(3, 0.0));
  Tensor empty({0, 4}, DType::f32);
  empty.zero();
  empty.fill(3);
  CHECK(empty.defined());
  CHECK(empty.bytes() == 0);
  CHECK(empty.clone().shape() == Shape{0, 4});
  CHECK(empty.slice(0, 0).numel() == 0);
}

TEST_CASE("device: another device without a backend is Unsupported", "[core][device]") {
  if (is_available(Device::cuda)) {
    CHECK_NOTHROW(pool_stats(Device::cuda));
    return;
  }
  CHECK_THROWS_AS(Tensor({2}, DType::f32, Device::cuda), Unsupported);
  CHECK_THROWS_AS(Tensor({2}, DType::f32).to(Device::cuda), Unsupported);
  CHECK_THROWS_AS(pool_stats(Device::cuda), Unsupported);
}
