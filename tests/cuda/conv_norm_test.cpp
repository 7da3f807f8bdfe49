/// Halves of residual blocks: convolution, patch, normalization.

#include <tuple>
#include <utility>

#include "cuda/conv_sizes.hpp"
#include "refrain/kernels/conv_norm.hpp"
#include "refrain/kernels/patch.hpp"

using namespace refrain;
using kernels::Insertion;
using test::ConvSizes;
using test::paddings;
using test::PatchChoice;

namespace {

constexpr auto insertions = {Insertion::none, Insertion::serial, Insertion::parallel};

}  // namespace

CUDA_ENTRY(ConvNormForward) {
  const ConvSizes s(arena);
  // The largest exceeds a tile.
  const std::int64_t channels = arena.one_of<std::int64_t>({s.in, s.in, 256, 260});
  const std::int64_t bottleneck = arena.one_of<std::int64_t>({1, 5, 8, 16});
  const Shape shape{s.batch, s.steps, channels};
  const Insertion insertion = arena.one_of(insertions);
  const bool patched = insertion != Insertion::none;
  const PatchChoice patch(arena, s.batch, patched && channels <= 256);
  return {
      .x = arena.normal(shape),
      .w = arena.normal({s.taps, channels, channels},
                        1 / std::sqrt(static_cast<double>(s.taps * channels))),
      .bias = arena.normal({channels}),
      .gamma = arena.normal(patch.of_bank({channels})),
      .beta = arena.normal(patch.of_bank({channels})),
      .residual = arena.coin() ? arena.normal(shape) : View(),
      .patch = patched ? patch.weights(arena, channels, bottleneck) : kernels::PatchViews(),
      .y = arena.output("y", shape),
      .normalized = arena.maybe_output("normalized", shape),
      .inv_std = arena.maybe_output("inv_std", {s.batch, s.steps}),
      .conv = insertion == Insertion::serial ? arena.maybe_output("conv", shape) : MutableView(),
      .bottleneck = patched && !patch.is_bank()  // not written for row 0 on the CPU
                        ? arena.maybe_output("bottleneck", {s.batch, s.steps, bottleneck})
                        : MutableView(),
      .epsilon = 1e-2,
      .dilation = s.dilation,
      .padding = arena.one_of(paddings),
      .insertion = insertion};
}

CUDA_ENTRY(ConvNormAtSteps) {
  const ConvSizes s(arena);
  const std::int64_t channels = s.in, bottleneck = arena.one_of<std::int64_t>({1, 5, 16});
  const std::int64_t chosen = arena.size(9), before = arena.size(20);
  const Insertion insertion = arena.one_of(insertions);
  const bool with_residual = arena.coin();
  std::vector<std::int64_t> taps_at;
  for (std::int64_t i = 0; i < chosen * s.taps; ++i)
    taps_at.push_back(arena.below(s.steps + 1) - 1);
  return {.x = arena.normal({s.batch, s.steps, channels}),
          .w = arena.normal({s.taps, channels, channels}, s.scale()),
          .bias = arena.normal({channels}),
          .gamma = arena.normal({channels}),
          .beta = arena.normal({channels}),
          .residual = with_residual ? arena.normal({s.batch, before, channels}) : View(),
          .taps_at = arena.ids_from(taps_at, {chosen, s.taps}),
          .own_at = arena.ids({chosen}, s.steps),
          .residual_at = with_residual ? arena.ids({chosen}, before) : View(),
          .patch = insertion == Insertion::none
                       ? kernels::PatchViews()
                       : PatchChoice(arena, s.batch, false).weights(arena, channels, bottleneck),
          .y = arena.output("y", {s.batch, chosen, channels}),
          .epsilon = 1e-3,
          .insertion = insertion};
}

/// Its arguments point to the streams of served users, which are in host memory.
static const bool noted_streams = test::note_entry(kernels::ConvNormOfStreams::name);
TEST_CASE("cuda: ConvNormOfStreams has no kernel on a GPU", "[cuda]") {
  REQUIRE(noted_streams);
  CHECK_FALSE(kernels::has_kernel<kernels::ConvNormOfStreams>(Device::cuda));
}

/// Channels and bottlenecks around the limit of 48 KiB of shared memory, above which a kernel must
/// request more.
constexpr std::pair<std::int64_t, std::int64_t> around_shared_limit[] = {
    {160, 40}, {192, 32}, {128, 96}, {96, 128}};

CUDA_ENTRY(ConvNormBackward) {
  const ConvSizes s(arena);
  std::int64_t channels = s.in, bottleneck = arena.one_of<std::int64_t>({1, 5, 8, 16});
  if (arena.below(4) == 0) std::tie(channels, bottleneck) = around_shared_limit[arena.below(4)];
  const Shape shape{s.batch, s.steps, channels};
  const Insertion insertion = arena.one_of(insertions);
  const bool patched = insertion != Insertion::none;
  const PatchChoice patch(arena, s.batch, patched);
  const bool frozen = arena.coin();  // gradients of the patch and the input only
  const Shape weight{s.taps, channels, channels};
  return {
      .x = arena.normal(shape),
      .w = arena.normal(weight, 1 / std::sqrt(static_cast<double>(s.taps * channels))),
      .gamma = arena.coarse(patch.of_bank({channels})),
      .beta = arena.coarse(patch.of_bank({channels})),
      .patch = patched ? patch.weights(arena, channels, bottleneck) : kernels::PatchViews(),
      .normalized = arena.coarse(shape),
      .inv_std = arena.uniform({s.batch, s.steps}, 0.5, 2),
      .conv = insertion == Insertion::serial ? arena.normal(shape) : View(),
      .bottleneck = patched ? arena.normal({s.batch, s.steps, bottleneck}) : View(),
      .dy = arena.normal(shape),
      .dx = arena.output("dx", shape),
      .dw = frozen ? MutableView() : arena.output("dw", weight),
      .dbias = frozen ? MutableView() : arena.output("dbias", {channels}),
      .dgamma = frozen ? MutableView() : arena.output("dgamma", patch.of_gradient({channels})),
      .dbeta = frozen ? MutableView() : arena.output("dbeta", patch.of_gradient({channels})),
      .dpatch = patched ? patch.gradients(arena, channels, bottleneck) : kernels::PatchGradients(),
      .dilation = s.dilation,
      .padding = arena.one_of(paddings),
      .insertion = insertion};
}

CUDA_ENTRY(ConvNormAtStepsBackward) {
  const ConvSizes s(arena);
  const std::int64_t channels = s.in, bottleneck = arena.one_of<std::int64_t>({1, 5, 16});
  const std::int64_t chosen = std::min(arena.size(9), s.steps), before = chosen + arena.size(5);
  const Insertion insertion = arena.one_of(insertions);
  const bool patched = insertion != Insertion::none;
  const PatchChoice patch(arena, s.batch, false);
  const bool with_residual = arena.coin();
  const Shape shape{s.batch, chosen, channels}, weight{s.taps, channels, channels};
  std::vector<std::int64_t> taps_at;  // each tap has its own shift, as in a convolution
  for (std::int64_t i = 0; i < chosen * s.taps; ++i) {
    const std::int64_t step = i / s.taps + (s.steps - chosen) - i % s.taps * s.dilation;
    taps_at.push_back(step < 0 ? -1 : step);
  }
  std::vector<std::int64_t> own_at, residual_at;
  for (std::int64_t i = 0; i < chosen; ++i) {
    own_at.push_back(s.steps - 1 - i);
    residual_at.push_back(before - 1 - i);
  }
  return {
      .x = arena.normal({s.batch, s.steps, channels}),
      .w = arena.normal(weight, 1 / std::sqrt(static_cast<double>(s.taps * channels))),
      .gamma = arena.coarse({channels}),
      .beta = arena.coarse({channels}),
      .taps_at = arena.ids_from(taps_at, {chosen, s.taps}),
      .own_at = arena.ids_from(own_at, {chosen}),
      .residual_at = with_residual ? arena.ids_from(residual_at, {chosen}) : View(),
      .patch = patched ? patch.weights(arena, channels, bottleneck) : kernels::PatchViews(),
      .normalized = arena.coarse(shape),
      .inv_std = arena.uniform({s.batch, chosen}, 0.5, 2),
      .conv = insertion == Insertion::serial ? arena.normal(shape) : View(),
      .bottleneck = patched ? arena.normal({s.batch, chosen, bottleneck}) : View(),
      .dy = arena.normal(shape),
      .dx = arena.output("dx", {s.batch, s.steps, channels}),
      .dw = arena.maybe_output("dw", weight),
      .dbias = arena.maybe_output("dbias", {channels}),
      .dgamma = arena.maybe_output("dgamma", {channels}),
      .dbeta = arena.maybe_output("dbeta", {channels}),
      .dresidual =
          with_residual ? arena.output("dresidual", {s.batch, before, channels}) : MutableView(),
      .dpatch = patched ? patch.gradients(arena, channels, bottleneck) : kernels::PatchGradients(),
      .insertion = insertion};
}
