/// Patches.

#include "refrain/kernels/patch.hpp"
#include "cuda/conv_sizes.hpp"

using namespace refrain;
using test::PatchChoice;

CUDA_ENTRY(PatchForward) {
  const std::int64_t batch = arena.size(6), rows = batch * arena.size(50),
                     bottleneck = arena.size(20);
  // The largest exceeds a tile.
  const std::int64_t channels = arena.one_of<std::int64_t>({arena.size(130), 256, 260});
  const PatchChoice patch(arena, batch, channels <= 256);
  return {.x = arena.normal({rows, channels}),
          .patch = patch.weights(arena, channels, bottleneck),
          .y = arena.output("y", {rows, channels}),
          .bottleneck = patch.is_bank() ? MutableView()  // not written for row 0 on the CPU
                                        : arena.maybe_output("bottleneck", {rows, bottleneck})};
}

CUDA_ENTRY(PatchBackward) {
  const std::int64_t batch = arena.size(6), rows = batch * arena.size(50);
  const std::int64_t channels = arena.size(130), bottleneck = arena.size(20);
  const PatchChoice patch(arena, batch, true);
  return {.x = arena.normal({rows, channels}),
          .patch = patch.weights(arena, channels, bottleneck),
          .bottleneck = arena.normal({rows, bottleneck}),
          .dy = arena.normal({rows, channels}),
          .dx = arena.maybe_output("dx", {rows, channels}),
          .dpatch = patch.gradients(arena, channels, bottleneck)};
}
