/// Rows replaced by one row, or by the rows of a bank.

#include "refrain/kernels/replace_rows.hpp"
#include "cuda/conv_sizes.hpp"

using namespace refrain;
using test::PatchChoice;

CUDA_ENTRY(ReplaceRows) {
  const std::int64_t batch = arena.size(10), count = batch * arena.size(50);
  const std::int64_t width = arena.size(130);
  const PatchChoice bank(arena, batch, true);
  return {.x = arena.normal({count, width}),
          .ids = arena.ids({count}, 4),
          .row = arena.normal(bank.of_bank({width})),
          .bank_rows = bank.rows(arena),
          .y = arena.output("y", {count, width}),
          .id = arena.below(5)};
}

CUDA_ENTRY(ReplaceRowsBackward) {
  const std::int64_t batch = arena.size(10), count = batch * arena.size(50);
  const std::int64_t width = arena.size(130);
  const PatchChoice bank(arena, batch, true);
  return {.ids = arena.ids({count}, 4),
          .bank_rows = bank.rows(arena),
          .dy = arena.normal({count, width}),
          .dx = arena.maybe_output("dx", {count, width}),
          .drow = arena.output("drow", bank.of_gradient({width})),
          .id = arena.below(5)};
}
