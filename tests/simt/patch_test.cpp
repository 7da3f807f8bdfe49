/// Patches on CUDA, emulated, against loops in double, with their gradients.

#include "simt/conv_problems.hpp"
#include "simt/gradient_outputs.hpp"

using namespace refrain;
using namespace refrain::test;
using namespace refrain::test::convolutions;

namespace {

/// dx and the patch's four.
template <class T>
void check_patch(std::int64_t rows, std::int64_t channels, std::int64_t width,
                 const Options<T>& options = {}) {
  const int offset = options.offset;
  INFO(rows << " rows, C " << channels << " D " << width << ", " << offset
            << " past a multiple of 16 bytes");
  const auto x = random_array<T>({rows, channels}, 1, 1, offset),
             dy = random_array<T>({rows, channels}, 2, 1, offset);
  const auto bottleneck = random_array<T>({rows, width}, 3, 1, offset);
  const PatchWithGradients<T> patch(channels, width, offset);
  const naive::PatchBackward d =
      naive::patch_backward(x.doubles(), patch.values(), bottleneck.doubles(), dy.doubles(), rows);
  std::vector<Expected> expected{{x.view().shape, d.dx}};
  patch.append(expected, d.d);
  check_outputs<T>(expected, options, [&](Outputs<T>& outputs) {
    const kernels::PatchBackward args{.x = outputs.wanted(1) ? x.view() : View(),
                                      .patch = patch.views(),
                                      .bottleneck = bottleneck.view(),
                                      .dy = dy.view(),
                                      .dx = outputs[0],
                                      .dpatch = {outputs[1], outputs[2], outputs[3], outputs[4]}};
    run_emulated(args);
  });
}

}  // namespace

TEMPLATE_TEST_CASE("cuda patch: forward is the naive loop", "[simt][patch]", float, double) {
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

TEST_CASE("cuda patch: on tensor cores", "[simt][patch]") {
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
TEMPLATE_TEST_CASE("cuda patch: gradients are the naive chain rule", "[simt][patch]", float,
                   double) {
  using T = TestType;
  // In one launch for f32, then not: odd widths, too many channels, addresses.
  check_patch<T>(0, 4, 4);
  check_patch<T>(32, 8, 4);
  check_patch<T>(33, 64, 8, {.choices = false});
  check_patch<T>(31, 68, 36, {.choices = false});
  check_patch<T>(300, 4, 4, {.choices = false});
  check_patch<T>(1, 1, 1);
  check_patch<T>(7, 31, 5);
  check_patch<T>(5, 3, 70);
  check_patch<T>(3, 260, 4, {.choices = false});
  check_patch<T>(9, 8, 4, {.offset = 1});
}

TEST_CASE("cuda patch: gradients on tensor cores", "[simt][patch]") {
  for (const MathMode mode : {MathMode::tf32, MathMode::bf16}) {
    const MathScope scope(mode);
    const Options<float> options{.choices = false, .allowed = rounded_factors(mode)};
    check_patch<float>(33, 40, 36, options);
    check_patch<float>(9, 7, 5, options);
  }
}
