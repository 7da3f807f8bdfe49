/// Halves of residual blocks on CUDA, emulated, against loops in double, with their gradients.

#include "simt/conv_problems.hpp"
#include "simt/gradient_outputs.hpp"

using namespace refrain;
using namespace refrain::test;
using namespace refrain::test::convolutions;
using naive::ConvSizes;

namespace {

struct HalfSizes {
  std::int64_t batch, steps, channels, taps, dilation, width;
  ConvSizes conv(bool same) const {
    return {batch, steps, channels, channels, taps, dilation, same};
  }
};

/// dx, dw, dbias, dgamma, dbeta, and with a patch its four. Saved tensors are any numbers: the
/// chain rule holds for all.
template <class T>
void check_half(const HalfSizes& sizes, bool same, Insertion insertion,
                const Options<T>& options = {}) {
  const int offset = options.offset;
  const ConvSizes size = sizes.conv(same);
  INFO(text(size) << " D " << sizes.width << " insertion " << static_cast<int>(insertion) << ", "
                  << offset << " past a multiple of 16 bytes");
  const std::int64_t channels = sizes.channels;
  const Shape shape{size.batch, size.steps, channels};
  const bool patched = insertion != Insertion::none;
  const auto x = random_array<T>(shape, 1, 1, offset), dy = random_array<T>(shape, 2, 1, offset);
  const auto w = random_array<T>({size.taps, channels, channels}, 3, 1, offset);
  const auto gamma = random_array<T>({channels}, 4), beta = random_array<T>({channels}, 5);
  const auto normalized = random_array<T>(shape, 6, 1, offset),
             inv_std = random_array<T>({size.batch, size.steps}, 7);
  const auto conv = random_array<T>(shape, 8, 1, offset);
  const auto bottleneck = random_array<T>({size.batch, size.steps, sizes.width}, 9, 1, offset);
  const PatchWithGradients<T> patch(channels, sizes.width, offset);
  const naive::Place place = insertion == Insertion::none     ? naive::Place::none
                             : insertion == Insertion::serial ? naive::Place::serial
                                                              : naive::Place::parallel;
  const naive::HalfGradients d = naive::half_backward(
      x.doubles(), {w.doubles(), {}, gamma.doubles(), beta.doubles(), patch.values()},
      {{}, normalized.doubles(), inv_std.doubles(), conv.doubles(), bottleneck.doubles()},
      dy.doubles(), size, place);
  std::vector<Expected> expected{{shape, d.dx},
                                 {w.view().shape, d.dw},
                                 {{channels}, d.dbias},
                                 {{channels}, d.dgamma},
                                 {{channels}, d.dbeta}};
  if (patched) patch.append(expected, d.patch);
  check_outputs<T>(expected, options, [&](Outputs<T>& outputs) {
    const bool down = patched && outputs.wanted(5);
    kernels::ConvNormBackward args{
        .x = outputs.wanted(1) || (insertion == Insertion::parallel && down) ? x.view() : View(),
        .w = w.view(),
        .gamma = gamma.view(),
        .beta = beta.view(),
        .normalized = normalized.view(),
        .inv_std = inv_std.view(),
        .conv = insertion == Insertion::serial && down ? conv.view() : View(),
        .dy = dy.view(),
        .dx = outputs[0],
        .dw = outputs[1],
        .dbias = outputs[2],
        .dgamma = outputs[3],
        .dbeta = outputs[4],
        .dilation = size.dilation,
        .padding = padding(size),
        .insertion = insertion};
    if (patched) {
      args.patch = patch.views();
      args.bottleneck = bottleneck.view();
      args.dpatch = {outputs[5], outputs[6], outputs[7], outputs[8]};
    }
    if (options.column_bytes != 0) args.max_gathered_bytes = options.column_bytes;
    run_emulated(args);
  });
}

}  // namespace

TEMPLATE_TEST_CASE("cuda conv_norm: forward is the naive loop, with and without what is saved",
                   "[simt][conv_norm]", float, double) {
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

TEST_CASE("cuda conv_norm: wider than a tile", "[simt][conv_norm]") {
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

TEST_CASE("cuda conv_norm: on tensor cores", "[simt][conv_norm]") {
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
                   "[simt][conv_norm]", float, double) {
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

TEMPLATE_TEST_CASE("cuda conv_norm: an identity patch changes nothing", "[simt][conv_norm]", float,
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

TEMPLATE_TEST_CASE("cuda conv_norm: gradients are the naive chain rule", "[simt][conv_norm]", float,
                   double) {
  using T = TestType;
  for (const Insertion insertion : insertions) {
    // Nothing, one, tiles of 32 rows less and more one, each register row, more than one tile of
    // the bottleneck.
    check_half<T>({2, 0, 4, 3, 1, 4}, false, insertion);
    check_half<T>({1, 1, 1, 1, 1, 1}, false, insertion);
    check_half<T>({3, 11, 64, 3, 2, 8}, false, insertion, {.choices = false});
    check_half<T>({2, 16, 68, 2, 20, 36}, false, insertion, {.choices = false});
    check_half<T>({1, 5, 132, 1, 1, 12}, false, insertion, {.choices = false});
    check_half<T>({1, 31, 8, 2, 2, 4}, true, insertion);
    // No whole packs, in channels or addresses; rows too long for registers.
    check_half<T>({2, 7, 9, 4, 1, 5}, true, insertion);
    check_half<T>({2, 7, 8, 3, 1, 4}, true, insertion, {.choices = false, .offset = 1});
    check_half<T>({1, 4, 260, 2, 1, 4}, false, insertion);
    // Slices of one sequence.
    check_half<T>({3, 6, 68, 3, 2, 4}, true, insertion, {.column_bytes = 1});
    check_half<T>({3, 4, 67, 2, 1, 3}, false, insertion,
                  {.choices = false, .offset = 1, .column_bytes = 1});
  }
}

TEST_CASE("cuda conv_norm: gradients of more rows than one slice of sums has",
          "[simt][conv_norm]") {
  check_half<float>({5, 420, 4, 1, 1, 4}, false, Insertion::parallel, {.choices = false});
}

TEST_CASE("cuda conv_norm: gradients on tensor cores", "[simt][conv_norm]") {
  for (const MathMode mode : {MathMode::tf32, MathMode::bf16}) {
    const MathScope scope(mode);
    const Options<float> options{.choices = false, .allowed = rounded_factors(mode)};
    for (const Insertion insertion : insertions) {
      check_half<float>({3, 11, 40, 2, 2, 36}, false, insertion, options);
      check_half<float>({2, 7, 9, 2, 1, 5}, true, insertion, options);
    }
  }
}
