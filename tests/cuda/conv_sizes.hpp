#pragma once
/// Sizes of convolutions, and patches whose weights are scaled so that results stay near one.

#include <cmath>

#include "cuda/arena.hpp"
#include "refrain/kernels/causal_conv.hpp"
#include "refrain/kernels/patch.hpp"

namespace refrain::test {

inline constexpr auto paddings = {kernels::Padding::causal, kernels::Padding::same};

struct ConvSizes {
  explicit ConvSizes(Arena& arena)
      : batch(arena.size(6)),
        steps(arena.size(50)),
        in(arena.one_of<std::int64_t>({1, 3, 16, 32, 64, 65, 128})),
        out(arena.one_of<std::int64_t>({1, 5, 16, 48, 64, 128})),
        taps(arena.size(4)),
        dilation(arena.one_of<std::int64_t>({1, 2, 4, 64})) {}
  double scale() const { return 1 / std::sqrt(static_cast<double>(taps * in)); }

  std::int64_t batch, steps, in, out, taps, dilation;
};

inline kernels::PatchViews patch_weights(Arena& arena, std::int64_t channels,
                                         std::int64_t bottleneck) {
  return {
      .down = arena.normal({channels, bottleneck}, 1 / std::sqrt(static_cast<double>(channels))),
      .down_bias = arena.normal({bottleneck}),
      .up = arena.normal({bottleneck, channels}, 1 / std::sqrt(static_cast<double>(bottleneck))),
      .up_bias = arena.normal({channels})};
}

inline kernels::PatchGradients patch_gradients(Arena& arena, std::int64_t channels,
                                               std::int64_t bottleneck) {
  return {.down = arena.output("dpatch.down", {channels, bottleneck}),
          .down_bias = arena.output("dpatch.down_bias", {bottleneck}),
          .up = arena.output("dpatch.up", {bottleneck, channels}),
          .up_bias = arena.output("dpatch.up_bias", {channels})};
}

}  // namespace refrain::test
