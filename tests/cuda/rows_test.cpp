/// Entries that work on rows.

#include "cuda/arena.hpp"

using namespace refrain;

CUDA_ENTRY(layer_norm_forward) {
  const std::int64_t rows = arena.size(300), width = arena.size(1030);
  return {.x = arena.normal({rows, width}, 2),
          .gamma = arena.normal({width}),
          .beta = arena.normal({width}),
          .y = arena.output("y", {rows, width}),
          .normalized = arena.maybe_output("normalized", {rows, width}),
          .inv_std = arena.maybe_output("inv_std", {rows}),
          .epsilon = 1e-3};
}

CUDA_ENTRY(layer_norm_backward) {
  const std::int64_t rows = arena.size(300), width = arena.size(1030);
  return {.gamma = arena.normal({width}),
          .normalized = arena.normal({rows, width}),
          .inv_std = arena.uniform({rows}, 0.5, 2),
          .dy = arena.normal({rows, width}),
          .dx = arena.maybe_output("dx", {rows, width}),
          .dgamma = arena.maybe_output("dgamma", {width}),
          .dbeta = arena.output("dbeta", {width})};
}

CUDA_ENTRY(gather_rows) {
  const std::int64_t items = arena.size(500), width = arena.size(130), count = arena.size(700);
  return {.table = arena.normal({items, width}),
          .ids = arena.ids({count}, items),
          .out = arena.output("out", {count, width})};
}

CUDA_ENTRY(coalesce_rows) {
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

CUDA_ENTRY(add_rows) {
  const std::int64_t items = arena.size(400), width = arena.size(70), length = arena.size(items),
                     count = arena.size(length);
  return {.rows = arena.distinct_ids(count, length, items),
          .values = arena.normal({length, width}),
          .to = arena.changed("to", {items, width})};
}

CUDA_ENTRY(select_step) {
  const std::int64_t batch = arena.size(60), steps = arena.size(30), width = arena.size(130);
  return {.x = arena.normal({batch, steps, width}),
          .y = arena.output("y", {batch, width}),
          .step = arena.below(steps)};
}

CUDA_ENTRY(select_step_backward) {
  const std::int64_t batch = arena.size(60), steps = arena.size(30), width = arena.size(130);
  return {.dy = arena.normal({batch, width}),
          .dx = arena.output("dx", {batch, steps, width}),
          .step = arena.below(steps)};
}

CUDA_ENTRY(replace_rows) {
  const std::int64_t count = arena.size(500), width = arena.size(130);
  return {.x = arena.normal({count, width}),
          .ids = arena.ids({count}, 4),
          .row = arena.normal({width}),
          .y = arena.output("y", {count, width}),
          .id = arena.below(5)};
}

CUDA_ENTRY(replace_rows_backward) {
  const std::int64_t count = arena.size(500), width = arena.size(130);
  return {.ids = arena.ids({count}, 4),
          .dy = arena.normal({count, width}),
          .dx = arena.maybe_output("dx", {count, width}),
          .drow = arena.output("drow", {width}),
          .id = arena.below(5)};
}

CUDA_ENTRY(sum_rows) {
  const std::int64_t rows = arena.size(3000), width = arena.size(130);
  return {.x = arena.normal({rows, width}), .out = arena.output("out", {width})};
}

CUDA_ENTRY_WITH(top_k, {.tolerance = test::tolerance::exact}) {
  const std::int64_t rows = arena.size(20), items = arena.size(5000),
                     k = arena.size(std::min<std::int64_t>(items, 100));
  // Whole numbers: many are equal.
  return {
      .scores = arena.coin() ? arena.whole({rows, items}, -20, 20) : arena.normal({rows, items}),
      .values = arena.output("values", {rows, k}),
      .indices = arena.output_ids("indices", {rows, k})};
}
