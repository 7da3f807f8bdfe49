/// Patches.

#include "refrain/kernels/patch.hpp"
#include "cuda/conv_sizes.hpp"

using namespace refrain;
using test::patch_gradients;
using test::patch_weights;

CUDA_ENTRY(PatchForward) {
  const std::int64_t rows = arena.size(300), bottleneck = arena.size(20);
  // The largest exceeds a tile.
  const std::int64_t channels = arena.one_of<std::int64_t>({arena.size(130), 256, 260});
  return {.x = arena.normal({rows, channels}),
          .patch = patch_weights(arena, channels, bottleneck),
          .y = arena.output("y", {rows, channels}),
          .bottleneck = arena.maybe_output("bottleneck", {rows, bottleneck})};
}

CUDA_ENTRY(PatchBackward) {
  const std::int64_t rows = arena.size(300), channels = arena.size(130),
                     bottleneck = arena.size(20);
  return {.x = arena.normal({rows, channels}),
          .patch = patch_weights(arena, channels, bottleneck),
          .bottleneck = arena.normal({rows, bottleneck}),
          .dy = arena.normal({rows, channels}),
          .dx = arena.maybe_output("dx", {rows, channels}),
          .dpatch = patch_gradients(arena, channels, bottleneck)};
}
