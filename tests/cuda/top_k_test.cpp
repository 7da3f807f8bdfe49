/// The largest elements of rows.

#include "refrain/kernels/top_k.hpp"
#include "cuda/arena.hpp"

using namespace refrain;

CUDA_ENTRY_WITH(TopK, {.tolerance = test::tolerance::exact}) {
  const std::int64_t rows = arena.size(20), items = arena.size(5000),
                     k = arena.size(std::min<std::int64_t>(items, 100));
  // Integers, so that many are equal.
  return {
      .scores = arena.coin() ? arena.whole({rows, items}, -20, 20) : arena.normal({rows, items}),
      .values = arena.output("values", {rows, k}),
      .indices = arena.output_ids("indices", {rows, k})};
}
