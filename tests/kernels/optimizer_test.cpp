/// Parameter updates against loops over single numbers in double, bit-identical for any number of
/// threads.

#include "support/cases/optimizer.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {

constexpr UpdateSize dense_update_sizes[] = {
    {false, 0, 1}, {false, 1, 1}, {false, 1, 17}, {false, 1, 1009}, {false, 1, 100003}};
constexpr UpdateSize row_update_sizes[] = {
    {true, 0, 1}, {true, 3, 3}, {true, 1500, 64}, {true, 5, 10, 0, 2}};

}  // namespace

TEMPLATE_TEST_CASE("adam: five steps equal the naive loop", "[kernel][optimizer]", float, double) {
  for (const naive::AdamOptions& options : adam_options) {
    for (const UpdateSize& size : dense_update_sizes)
      check_adam<CpuBackend, TestType>(size, options, false, 5);
  }
}

TEMPLATE_TEST_CASE("adam_rows: named rows are updated as by adam, others keep their bytes",
                   "[kernel][optimizer]", float, double) {
  for (const naive::AdamOptions& options : adam_options) {
    for (const UpdateSize& size : row_update_sizes)
      check_adam<CpuBackend, TestType>(size, options, false);
  }
}

TEMPLATE_TEST_CASE("adam: rates from memory", "[kernel][optimizer]", float, double) {
  check_adam<CpuBackend, TestType>(dense_update_sizes[3], adam_options[0], true, 5);
  check_adam<CpuBackend, TestType>(row_update_sizes[1], adam_options[0], true, 5);
}

TEMPLATE_TEST_CASE("adam_rows: an update of all rows equals adam, bit for bit",
                   "[kernel][optimizer]", float, double) {
  using T = TestType;
  const Shape shape{37, 16};
  const Tensor start = random_tensor<T>(shape, 1), gradient = random_tensor<T>(shape, 2);
  Tensor rows({37}, DType::i32);
  for (std::int32_t i = 0; i < 37; ++i) rows.data<std::int32_t>()[i] = i;
  Tensor dense = start.clone(), dense_m = Tensor::zeros(shape, dtype_of<T>),
         dense_v = Tensor::zeros(shape, dtype_of<T>);
  Tensor lazy = start.clone(), lazy_m = Tensor::zeros(shape, dtype_of<T>),
         lazy_v = Tensor::zeros(shape, dtype_of<T>);
  const auto run = [](auto args, int step) {
    args.learning_rate = 3e-3;
    args.l2 = 0.02;
    args.decay = 0.1;
    args.step = step;
    kernels::run(args);
  };
  for (int step = 1; step <= 3; ++step) {
    run(kernels::Adam{.parameter = dense, .gradient = gradient, .m = dense_m, .v = dense_v}, step);
    run(
        kernels::AdamRows{
            .parameter = lazy, .rows = rows, .values = gradient, .m = lazy_m, .v = lazy_v},
        step);
  }
  CHECK(same_bytes(lazy, dense));
  CHECK(same_bytes(lazy_m, dense_m));
  CHECK(same_bytes(lazy_v, dense_v));
}

TEST_CASE("adam_many: every parameter equals a separate update, bit for bit",
          "[kernel][optimizer]") {
  const UpdateSize sizes[] = {{false, 1, 7}, {false, 1, 8}, {true, 5, 3}, {true, 4, 1}};
  check_adam_many<CpuBackend>(sizes, 6);
}

TEMPLATE_TEST_CASE("sgd: with and without momentum", "[kernel][optimizer]", float, double) {
  for (const UpdateSize& size : dense_update_sizes) check_sgd<CpuBackend, TestType>(size);
}

TEMPLATE_TEST_CASE("sgd_rows: updates only the named rows", "[kernel][optimizer]", float, double) {
  for (const UpdateSize& size : row_update_sizes) check_sgd<CpuBackend, TestType>(size);
}
