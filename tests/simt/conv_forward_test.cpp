/// Convolutions, the fused half of a residual block and patches on CUDA, emulated, against loops
/// in double.

#include "kernels/causal_conv/cuda.hpp"
#include "kernels/matmul/product_scratch.hpp"
#include "refrain/kernels/causal_conv.hpp"
#include "refrain/kernels/conv_norm.hpp"
#include "refrain/kernels/patch.hpp"
#include "simt/conv_problems.hpp"

using namespace refrain;
using namespace refrain::test;
using namespace refrain::test::convolutions;

TEMPLATE_TEST_CASE("cuda causal_conv: forward is the naive loop", "[simt][conv]", float, double) {
  using T = TestType;
  // No rows, no input channels; one of everything; batch boundaries inside a tile of 64 rows, at
  // its end, and one row after; even and odd taps on both sides; reaches beyond the sequence;
  // around 16 channels of a slice and 64 columns of a tile. Past them the library: one tap, more
  // channels than a lane's share of a warp's row, none, slices of one and of two sequences, single
  // elements.
  for (const ConvCase& c : {ConvCase{0, 5, 4, 4, 2, 1, false},
                            ConvCase{2, 0, 4, 4, 2, 1, false},
                            ConvCase{2, 3, 0, 4, 1, 1, false},
                            ConvCase{1, 1, 1, 1, 1, 1, false},
                            ConvCase{3, 11, 4, 8, 3, 2, false},
                            ConvCase{2, 32, 16, 64, 2, 1, true},
                            ConvCase{5, 13, 17, 5, 2, 3, true, false},
                            ConvCase{1, 64, 15, 63, 3, 7, false},
                            ConvCase{1, 65, 8, 65, 1, 1, true},
                            ConvCase{2, 4, 20, 68, 3, 9, false, false},
                            ConvCase{3, 2, 12, 132, 4, 1, true},
                            ConvCase{2, 5, 8, 12, 2, 1, true, true, 1},
                            ConvCase{2, 7, 260, 5, 2, 1, true},
                            ConvCase{1, 3, 131, 2, 3, 1, false},
                            ConvCase{2, 3, 0, 65, 2, 1, false},
                            ConvCase{0, 3, 8, 65, 2, 1, false},
                            ConvCase{2, 0, 8, 65, 2, 1, false},
                            ConvCase{3, 5, 68, 12, 3, 2, true, true, 0, 1},
                            ConvCase{5, 4, 8, 72, 4, 1, false, true, 0, 2 * 4 * 4 * 8 * 4},
                            ConvCase{3, 5, 68, 8, 3, 2, false, false, 1, 1}}) {
    INFO(text(c));
    const ConvProblem<T> problem(c);
    std::vector<T> first;
    for_each_order([&] {
      DeviceArray<T> y = problem.output();
      problem.run(y);
      check_close<T>(y.span(), problem.expected, tolerance::sum<T>);
      if (first.empty()) first = values_of(y);
      CHECK(values_of(y) == first);
    });
  }
}

TEMPLATE_TEST_CASE("cuda causal_conv: something may be added, also what y holds", "[simt][conv]",
                   float, double) {
  using T = TestType;
  for (const ConvCase& c :
       {ConvCase{2, 33, 4, 72, 2, 1, false}, ConvCase{1, 3, 3, 5, 2, 1, true}}) {
    INFO(text(c));
    const ConvProblem<T> problem(c);
    const auto added = random_array<T>({c.batch, c.steps, c.out}, 8);
    naive::Values expected = problem.expected;
    for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += added.doubles()[i];
    for_each_order([&] {
      DeviceArray<T> y = problem.output(), in_place = problem.output();
      cuda::convolve(problem.args(y), added.view());
      check_close<T>(y.span(), expected, tolerance::sum<T>);
      std::copy(added.span().begin(), added.span().end(), in_place.data());
      cuda::convolve(problem.args(in_place), in_place.view());
      CHECK(same_bytes(y, in_place));
    });
  }
}

TEST_CASE("cuda causal_conv: on tensor cores", "[simt][conv]") {
  for (const MathMode mode : {MathMode::tf32, MathMode::bf16}) {
    const MathScope scope(mode);
    for (const ConvCase& c :
         {ConvCase{2, 9, 20, 36, 3, 2, false}, ConvCase{2, 7, 24, 60, 2, 1, true},
          ConvCase{1, 5, 9, 7, 2, 1, true}}) {
      INFO(name(mode) << ": " << text(c));
      const ConvProblem<float> problem(c);
      for_each_order([&] {
        DeviceArray<float> y = problem.output();
        run_emulated(problem.args(y));
        check_close<float>(y.span(), problem.expected, tolerance_of<float>(mode));
        std::vector<float> exact(
            y.span().size());  // no bit of the exact mode's results: the factors were rounded
        const MathScope inner(MathMode::exact);
        DeviceArray<float> z = problem.output();
        run_emulated(problem.args(z));
        CHECK_FALSE(same_bytes(y, z));
      });
    }
  }
}

TEMPLATE_TEST_CASE("cuda causal_conv: a sequence's results do not depend on its place in the batch",
                   "[simt][conv]", float, double) {
  using T = TestType;
  const ConvCase c{
      7, 19, 8,   12,
      3, 4,  true};  // 133 rows: every sequence lies elsewhere in its tile, some in two
  const ConvProblem<T> problem(c);
  DeviceArray<T> y = problem.output();
  run_emulated(problem.args(y));
  for (std::int64_t b = 0; b < c.batch; ++b) {
    DeviceArray<T> x({1, c.steps, c.in}), alone({1, c.steps, c.out});
    std::copy_n(problem.x.data() + b * c.steps * c.in, c.steps * c.in, x.data());
    kernels::CausalConvForward args = problem.args(alone);
    args.x = x.view();
    run_emulated(args);
    CHECK(std::equal(alone.span().begin(), alone.span().end(), y.data() + b * c.steps * c.out));
  }
}

TEMPLATE_TEST_CASE("cuda conv_norm: forward is the naive loop, with and without what is saved",
                   "[simt][conv]", float, double) {
  using T = TestType;
  // One channel; one before, at and after the narrow tile; a bottleneck of one, around its slice of
  // 32, none at all; addresses that allow single elements alone.
  for (const HalfCase& c :
       {HalfCase{1, 1, 1, 1, 1, 1}, HalfCase{3, 23, 4, 3, 2, 8}, HalfCase{2, 5, 63, 2, 1, 33, true},
        HalfCase{2, 33, 64, 2, 40, 36}, HalfCase{1, 3, 20, 4, 1, 5, true},
        HalfCase{2, 4, 12, 2, 1, 16, false, 1}, HalfCase{1, 2, 8, 1, 1, 0},
        HalfCase{2, 3, 65, 2, 1, 4, true}}) {
    for (const Insertion insertion : insertions) {
      INFO(text(c) << ", insertion " << static_cast<int>(insertion));
      HalfProblem<T>(c, insertion).check(tolerance::sum<T>);
    }
  }
}

TEST_CASE("cuda conv_norm: wider than a tile", "[simt][conv]") {
  // Each register row, in groups and in single elements; rows that a block takes; slices of one
  // sequence; a bottleneck too wide for a tile.
  for (const HalfCase& c :
       {HalfCase{1, 3, 68, 2, 1, 12}, HalfCase{1, 2, 128, 1, 1, 8, true},
        HalfCase{1, 2, 132, 1, 1, 8}, HalfCase{2, 1, 255, 1, 1, 3}, HalfCase{1, 1, 256, 1, 1, 40},
        HalfCase{1, 2, 257, 1, 1, 2, true}, HalfCase{1, 2, 516, 1, 1, 4},
        HalfCase{1, 1, 1028, 1, 1, 3}, HalfCase{3, 5, 68, 3, 2, 8, true, 0, 1},
        HalfCase{3, 5, 76, 2, 1, 4, false, 1, 1}, HalfCase{2, 0, 68, 2, 1, 4},
        HalfCase{1, 2, 72, 1, 1, 0}, HalfCase{1, 2, 4, 2, 1, 640}}) {
    for (const Insertion insertion : insertions) {
      INFO(text(c) << ", insertion " << static_cast<int>(insertion));
      HalfProblem<float>(c, insertion).check(tolerance::sum<float>);
    }
  }
}

TEST_CASE("cuda conv_norm: on tensor cores", "[simt][conv]") {
  for (const MathMode mode : {MathMode::tf32, MathMode::bf16}) {
    const MathScope scope(mode);
    for (const HalfCase& c : {HalfCase{2, 5, 20, 2, 1, 12}, HalfCase{1, 3, 64, 1, 1, 36, true},
                              HalfCase{1, 2, 9, 2, 1, 3}}) {
      for (const Insertion insertion : insertions) {
        INFO(name(mode) << ": " << text(c) << ", insertion " << static_cast<int>(insertion));
        HalfProblem<float>(c, insertion).check(tolerance_of<float>(mode));
      }
    }
  }
}

TEMPLATE_TEST_CASE("cuda conv_norm: one launch, whichever the insertion, and none without rows",
                   "[simt][conv]", float, double) {
  using T = TestType;
  const auto launches = [](const HalfCase& c, Insertion insertion) {
    const HalfProblem<T> problem(c, insertion);
    typename HalfProblem<T>::Outputs out(problem);
    return launches_of([&] { problem.run(out, true); });
  };
  for (const Insertion insertion : insertions) {
    CHECK(launches({2, 3, 8, 2, 1, 4}, insertion) == 1);
    CHECK(launches({2, 3, 7, 2, 1, 40}, insertion) == 1);
    CHECK(launches({0, 3, 8, 2, 1, 4}, insertion) == 0);
    const bool patched = insertion != Insertion::none;
    if (std::is_same_v<T, float>) {  // besides the library's products: columns, GELU, norm
      CHECK(launches({3, 2, 256, 2, 1, 4}, insertion) == (patched ? 3 : 2));
      CHECK(launches({3, 2, 256, 1, 1, 4}, insertion) == (patched ? 2 : 1));
      CHECK(launches({3, 2, 65, 2, 1, 4, false, 0, 1}, insertion) == (patched ? 5 : 4));
    } else {
      CHECK(launches({1, 1, 65, 1, 1, 4}, insertion) > 1);
    }
    if (insertion != Insertion::none) CHECK(launches({1, 1, 4, 1, 1, 640}, insertion) > 1);
  }
}

TEST_CASE("cuda conv: gathered rows stay within their limit, or are one sequence's",
          "[simt][conv]") {
  constexpr std::size_t limit = 64 << 20;
  const auto shape = [](Shape of) { return View{nullptr, of, DType::f32, Device::cuda}; };
  kernels::Scratch of_products;
  cuda::take_product_scratch(of_products);
  const auto bytes = [&](std::int64_t batch, std::int64_t steps) {
    return scratch_bytes<kernels::CausalConvForward>(
               {.x = shape({batch, steps, 256}), .w = shape({3, 256, 256})}) -
           of_products.bytes();
  };
  CHECK(bytes(128, 50) == 128 * 50 * 3 * 256 * sizeof(float));
  CHECK(bytes(10000, 50) <= limit);
  CHECK(bytes(10000, 50) > limit / 2);
  CHECK(bytes(7, 100000) == 100000 * 3 * 256 * sizeof(float));
}

TEMPLATE_TEST_CASE("cuda conv_norm: an identity patch changes nothing", "[simt][conv]", float,
                   double) {
  using T = TestType;
  const HalfCase c{2, 9, 12, 2, 1, 8};
  const HalfProblem<T> plain(c, Insertion::none);
  HalfProblem<T> patched(c, Insertion::serial);
  std::fill_n(patched.patch.up.data(), 8 * 12, T{0});
  std::fill_n(patched.patch.up_bias.data(), 12, T{0});
  typename HalfProblem<T>::Outputs a(plain), b(patched);
  plain.run(a, true);
  patched.run(b, true);
  CHECK(same_bytes(a.y, b.y));
  CHECK(same_bytes(a.inv_std, b.inv_std));
}

TEMPLATE_TEST_CASE("cuda patch: forward is the naive loop", "[simt][conv]", float, double) {
  using T = TestType;
  struct Case {
    std::int64_t rows, channels, bottleneck;
    int offset;
  };
  for (const auto& [rows, channels, bottleneck, offset] :
       {Case{0, 4, 4, 0}, Case{1, 1, 1, 0}, Case{63, 8, 4, 0}, Case{65, 64, 36, 0},
        Case{3, 63, 33, 0}, Case{2, 12, 8, 1}, Case{3, 5, 0, 0}, Case{2, 65, 7, 0},
        Case{2, 68, 8, 0}, Case{1, 132, 4, 0}, Case{2, 260, 12, 0}, Case{1, 3, 700, 0}}) {
    INFO(rows << " rows of " << channels << ", bottleneck " << bottleneck << ", " << offset
              << " past a multiple of 16 bytes");
    const PatchArrays<T> patch(channels, bottleneck, offset);
    const auto x = random_array<T>({rows, channels}, 1, 1, offset);
    const naive::PatchResult expected = naive::patch(x.doubles(), patch.values(), rows);
    const bool one = channels <= (std::is_same_v<T, float> ? 256 : 64) && bottleneck < 700;
    for_each_order([&, rows = rows, channels = channels, bottleneck = bottleneck, offset = offset] {
      DeviceArray<T> y({rows, channels}, {}, offset), alone({rows, channels}),
          saved({rows, bottleneck});
      kernels::PatchForward args{.x = x.view(), .patch = patch.views(), .y = alone.mutable_view()};
      run_emulated(args);
      args.y = y.mutable_view();
      args.bottleneck = saved.mutable_view();
      const std::int64_t launches = launches_of([&] { run_emulated(args); });
      CHECK(launches == (rows == 0 ? 0 : one ? 1 : 3));
      check_close<T>(y.span(), expected.y, tolerance::sum<T>);
      check_close<T>(saved.span(), expected.bottleneck, tolerance::sum<T>);
      check_close<T>(alone.span(), expected.y, tolerance::sum<T>);
    });
  }
}

TEST_CASE("cuda patch: on tensor cores", "[simt][conv]") {
  for (const MathMode mode : {MathMode::tf32, MathMode::bf16}) {
    const MathScope scope(mode);
    for (const std::int64_t channels : {20, 132}) {
      INFO(name(mode) << ", " << channels << " channels");
      const PatchArrays<float> patch(channels, 36, 0);
      const auto x = random_array<float>({5, channels}, 1);
      const naive::PatchResult expected = naive::patch(x.doubles(), patch.values(), 5);
      for_each_order([&] {
        DeviceArray<float> y({5, channels}), saved({5, 36});
        run_emulated<kernels::PatchForward>({.x = x.view(),
                                             .patch = patch.views(),
                                             .y = y.mutable_view(),
                                             .bottleneck = saved.mutable_view()});
        check_close<float>(y.span(), expected.y, tolerance_of<float>(mode));
        check_close<float>(saved.span(), expected.bottleneck, tolerance_of<float>(mode));
      });
    }
  }
}
