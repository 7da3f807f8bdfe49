/// Rows replaced by one row.

#include "refrain/kernels/replace_rows.hpp"
#include "cuda/arena.hpp"

using namespace refrain;

CUDA_ENTRY(ReplaceRows) {
  const std::int64_t count = arena.size(500), width = arena.size(130);
  return {.x = arena.normal({count, width}),
          .ids = arena.ids({count}, 4),
          .row = arena.normal({width}),
          .y = arena.output("y", {count, width}),
          .id = arena.below(5)};
}

CUDA_ENTRY(ReplaceRowsBackward) {
  const std::int64_t count = arena.size(500), width = arena.size(130);
  return {.ids = arena.ids({count}, 4),
          .dy = arena.normal({count, width}),
          .dx = arena.maybe_output("dx", {count, width}),
          .drow = arena.output("drow", {width}),
          .id = arena.below(5)};
}
