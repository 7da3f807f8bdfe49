/// Rows gathered from a table, and gradients added back to it.

#include "refrain/kernels/gather.hpp"
#include "cuda/arena.hpp"

using namespace refrain;

CUDA_ENTRY(GatherRows) {
  const std::int64_t items = arena.size(500), width = arena.size(130), count = arena.size(700);
  return {.table = arena.normal({items, width}),
          .ids = arena.ids({count}, items),
          .out = arena.output("out", {count, width})};
}

CUDA_ENTRY(CoalesceRows) {
  const std::int64_t count = arena.size(3000), width = arena.size(40);
  const std::int64_t bound = arena.one_of<std::int64_t>({1, 5, 300, 100000, 2147483647});
  std::vector<std::int64_t> ids;
  const bool some_left_out = arena.coin();
  for (std::int64_t i = 0; i < count; ++i)
    ids.push_back(some_left_out && arena.below(4) == 0 ? -1 : arena.below(bound));
  return {.ids = arena.ids_from(ids),
          .dy = arena.normal({count, width}),
          .rows = arena.output_ids("rows", {count}),
          .values = arena.output("values", {count, width})};
}

CUDA_ENTRY(AddRows) {
  const std::int64_t items = arena.size(400), width = arena.size(70), length = arena.size(items),
                     count = arena.size(length);
  return {.rows = arena.distinct_ids(count, length, items),
          .values = arena.normal({length, width}),
          .to = arena.changed("to", {items, width})};
}
