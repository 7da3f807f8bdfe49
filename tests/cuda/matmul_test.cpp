/// Matrix products.

#include "refrain/kernels/matmul.hpp"
#include "cuda/arena.hpp"
#include "refrain/core/math_mode.hpp"
#include "refrain/kernels/run.hpp"
#include "support/tensors.hpp"

using namespace refrain;
using test::Arena;

CUDA_ENTRY(Matmul) {
  const std::int64_t rows = arena.size(150), columns = arena.size(150), depth = arena.size(400);
  const bool transpose_a = arena.coin(), transpose_b = arena.coin();
  return {.a = arena.normal(transpose_a ? Shape{depth, rows} : Shape{rows, depth}),
          .b = arena.normal(transpose_b ? Shape{columns, depth} : Shape{depth, columns}),
          .bias = arena.coin() ? arena.normal({columns}) : View(),
          .c = arena.output("c", {rows, columns}),
          .transpose_a = transpose_a,
          .transpose_b = transpose_b};
}

CUDA_ENTRY(PackedMatmul) {
  const std::int64_t rows = arena.size(150), columns = arena.size(150), depth = arena.size(400);
  const bool transpose = arena.coin();
  const View weight = arena.normal(transpose ? Shape{columns, depth} : Shape{depth, columns});
  return {.a = arena.normal({rows, depth}),
          .packed = arena.packed(weight, transpose),
          .bias = arena.coin() ? arena.normal({columns}) : View(),
          .c = arena.output("c", {rows, columns})};
}

CUDA_ENTRY(AddOuterProducts) {
  const std::int64_t rows = arena.size(150), columns = arena.size(150), depth = arena.size(40);
  return {.a = arena.normal({depth, rows}),
          .b = arena.normal({depth, columns}),
          .c = arena.changed("c", {rows, columns})};
}

static const bool noted_PackWeights = test::note_entry("pack_weights");

TEST_CASE("cuda: pack_weights then packed_matmul by the identity gives the matrix",
          "[cuda][table]") {
  REQUIRE(noted_PackWeights);
  if (!is_available(Device::cuda)) REFRAIN_SKIP("no CUDA device");
  for (const bool transpose : {false, true}) {
    const Tensor weight = test::random_tensor<float>({37, 53}, 5);
    const std::int64_t depth = weight.size(transpose ? 1 : 0),
                       columns = weight.size(transpose ? 0 : 1);
    Arena arena(1, DType::f32, Device::cuda);
    const View packed = arena.packed(arena.given(weight), transpose);
    Tensor identity = Tensor::zeros({depth, depth}, DType::f32);
    for (std::int64_t i = 0; i < depth; ++i) identity.data<float>()[i * depth + i] = 1;
    const MutableView c = arena.output("c", {depth, columns});
    kernels::run<kernels::PackedMatmul>({.a = arena.given(identity), .packed = packed, .c = c});
    const Tensor got = arena.outputs()[0].second.to(Device::cpu);
    for (std::int64_t row = 0; row < depth; ++row) {
      for (std::int64_t column = 0; column < columns; ++column) {
        const std::int64_t at = transpose ? column * depth + row : row * columns + column;
        REQUIRE(got.data<float>()[row * columns + column] == weight.data<float>()[at]);
      }
    }
  }
}

TEST_CASE("cuda: matmul in f64, without depth, and on addresses of any alignment",
          "[cuda][matmul]") {
  if (!is_available(Device::cuda)) REFRAIN_SKIP("no CUDA device");
  {
    const Tensor a = test::random_tensor<double>({21, 34}, 1),
                 b = test::random_tensor<double>({34, 13}, 2),
                 bias = test::random_tensor<double>({13}, 3);
    Tensor expected({21, 13}, DType::f64), got({21, 13}, DType::f64, Device::cuda);
    kernels::run<kernels::Matmul>({.a = a, .b = b, .bias = bias, .c = expected});
    const Tensor a2 = a.to(Device::cuda), b2 = b.to(Device::cuda), bias2 = bias.to(Device::cuda);
    kernels::run<kernels::Matmul>({.a = a2, .b = b2, .bias = bias2, .c = got});
    test::check_close<double>(got.to(Device::cpu), test::doubles(expected),
                              test::tolerance::sum<double>);
  }
  {
    const Tensor bias = Tensor::from<float>({3}, {1, 2, 3}).to(Device::cuda);
    const Tensor a({5, 0}, DType::f32, Device::cuda), b({0, 3}, DType::f32, Device::cuda);
    Tensor c({5, 3}, DType::f32, Device::cuda);
    kernels::run<kernels::Matmul>({.a = a, .b = b, .bias = bias, .c = c});
    CHECK(test::doubles(c.to(Device::cpu)) ==
          std::vector<double>{1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3});
    kernels::run<kernels::Matmul>({.a = a, .b = b, .c = c});
    CHECK(test::doubles(c.to(Device::cpu)) == std::vector<double>(15, 0));
  }
  for (const std::int64_t shift : {1, 2, 3}) {
    const Tensor a = test::random_tensor<float>({20, 16}, 1),
                 b = test::random_tensor<float>({16, 24}, 2);
    Tensor expected({20, 24}, DType::f32);
    kernels::run<kernels::Matmul>({.a = a, .b = b, .c = expected});
    // The same matrices, `shift` elements after an aligned address.
    const auto shifted = [&](const Tensor& host) {
      Tensor room({host.numel() + shift}, DType::f32, Device::cuda);
      Tensor part = room.slice(shift, shift + host.numel()).reshape(host.shape());
      part.copy_from(host);
      return part;
    };
    const Tensor a2 = shifted(a), b2 = shifted(b);
    Tensor got = shifted(Tensor::zeros({20, 24}, DType::f32));
    kernels::run<kernels::Matmul>({.a = a2, .b = b2, .c = got});
    test::check_close<float>(got.to(Device::cpu), test::doubles(expected), test::on_device);
  }
}

TEST_CASE("cuda: products with every combination of options and math modes against the CPU",
          "[cuda][matmul]") {
  if (!is_available(Device::cuda)) REFRAIN_SKIP("no CUDA device");
  // Sizes with and without full tiles of tensor cores. A rounded factor has a relative error of at
  // most `rounding`, so a sum of products differs by less than twice `rounding` times the largest
  // sum.
  struct Mode {
    MathMode mode;
    double rounding;
  };
  for (const auto& [mode, rounding] :
       {Mode{MathMode::exact, 0}, Mode{MathMode::tf32, 0x1p-11}, Mode{MathMode::bf16, 0x1p-8}}) {
    const MathScope scope(mode);
    for (const auto& [rows, columns, depth] :
         {std::array<std::int64_t, 3>{64, 96, 128}, {33, 7, 65}, {1, 50, 30}, {50, 1, 30}}) {
      const test::Tolerance allowed{2e-5 + rounding, 2e-5 + 2 * rounding};
      for (int form = 0; form < 8; ++form) {
        const bool transpose_a = (form & 1) != 0, transpose_b = (form & 2) != 0,
                   with_bias = (form & 4) != 0;
        INFO(name(mode) << " " << rows << " x " << columns << " x " << depth << ", transposed: a "
                        << transpose_a << " b " << transpose_b << ", bias " << with_bias);
        Arena expected(9, DType::f64, Device::cpu), got(9, DType::f32, Device::cuda);
        for (Arena* arena : {&expected, &got}) {
          kernels::run<kernels::Matmul>(
              {.a = arena->normal(transpose_a ? Shape{depth, rows} : Shape{rows, depth}),
               .b = arena->normal(transpose_b ? Shape{columns, depth} : Shape{depth, columns}),
               .bias = with_bias ? arena->normal({columns}) : View(),
               .c = arena->output("c", {rows, columns}),
               .transpose_a = transpose_a,
               .transpose_b = transpose_b});
        }
        test::check_outputs(expected, got, allowed);
      }
      INFO(name(mode) << " " << rows << " x " << columns << " x " << depth
                      << ", packed, and added");
      Arena expected(9, DType::f64, Device::cpu), got(9, DType::f32, Device::cuda);
      for (Arena* arena : {&expected, &got}) {
        const View packed = arena->packed(arena->normal({columns, depth}), true);
        const View bias = arena->normal({columns});
        kernels::run<kernels::PackedMatmul>({.a = arena->normal({rows, depth}),
                                             .packed = packed,
                                             .bias = bias,
                                             .c = arena->output("c", {rows, columns})});
        kernels::run<kernels::AddOuterProducts>({.a = arena->normal({depth, rows}),
                                                 .b = arena->normal({depth, columns}),
                                                 .c = arena->changed("added", {rows, columns})});
      }
      test::check_outputs(expected, got, allowed);
    }
  }
}

TEST_CASE("cuda: f64 products ignore the math mode", "[cuda][matmul]") {
  if (!is_available(Device::cuda)) REFRAIN_SKIP("no CUDA device");
  const MathScope scope(MathMode::bf16);
  for (int form = 0; form < 8; ++form) {
    const bool transpose_a = (form & 1) != 0, transpose_b = (form & 2) != 0,
               with_bias = (form & 4) != 0;
    Arena expected(9, DType::f64, Device::cpu), got(9, DType::f64, Device::cuda);
    for (Arena* arena : {&expected, &got}) {
      kernels::run<kernels::Matmul>(
          {.a = arena->normal(transpose_a ? Shape{65, 33} : Shape{33, 65}),
           .b = arena->normal(transpose_b ? Shape{17, 65} : Shape{65, 17}),
           .bias = with_bias ? arena->normal({17}) : View(),
           .c = arena->output("c", {33, 17}),
           .transpose_a = transpose_a,
           .transpose_b = transpose_b});
      kernels::run<kernels::AddOuterProducts>({.a = arena->normal({65, 33}),
                                               .b = arena->normal({65, 17}),
                                               .c = arena->changed("added", {33, 17})});
    }
    INFO("transposed: a " << transpose_a << " b " << transpose_b << ", bias " << with_bias);
    for (std::size_t i = 0; i < 2; ++i) {
      test::check_close<double>(got.outputs()[i].second.to(Device::cpu),
                                test::doubles(expected.outputs()[i].second),
                                test::tolerance::sum<double>);
    }
  }
}

TEST_CASE(
    "cuda: errors of tf32 and bf16 products are within their bounds and exceed those of exact "
    "products",
    "[cuda][matmul]") {
  if (!is_available(Device::cuda)) REFRAIN_SKIP("no CUDA device");
  const std::int64_t size = 256;
  const Tensor a = test::random_tensor<double>({size, size}, 1),
               b = test::random_tensor<double>({size, size}, 2);
  Tensor expected({size, size}, DType::f64);
  kernels::run<kernels::Matmul>({.a = a, .b = b, .c = expected});
  const Tensor a2 = a.to(DType::f32).to(Device::cuda), b2 = b.to(DType::f32).to(Device::cuda);
  const auto worst = [&](MathMode mode) {
    const MathScope scope(mode);
    Tensor c({size, size}, DType::f32, Device::cuda);
    kernels::run<kernels::Matmul>({.a = a2, .b = b2, .c = c});
    const std::vector<double> got = test::doubles(c.to(Device::cpu)),
                              want = test::doubles(expected);
    double largest = 0;
    for (std::size_t i = 0; i < got.size(); ++i)
      largest = std::max(largest, std::abs(got[i] - want[i]));
    return largest;
  };
  // Errors of sums of 256 products of standard normal numbers; the sums have a standard deviation
  // of 16.
  const double exact = worst(MathMode::exact), tf32 = worst(MathMode::tf32),
               bf16 = worst(MathMode::bf16);
  CHECK(exact < 16 * 2e-5);
  CHECK(tf32 < 16 * 4 * 0x1p-11);
  CHECK(bf16 < 16 * 4 * 0x1p-8);
  CHECK(exact < tf32);
  CHECK(tf32 <= bf16);  // cuBLASLt may multiply in tf32 where bf16 is allowed
}
