/// Parameter updates.

#include "refrain/kernels/optimizer.hpp"
#include "cuda/arena.hpp"

using namespace refrain;

namespace {

kernels::Adam pose_dense(test::Arena& arena, std::int64_t largest) {
  const Shape shape{arena.size(largest)};
  return {.parameter = arena.changed("parameter", shape),
          .gradient = arena.normal(shape),
          .m = arena.changed("m", shape),
          .v = arena.changed_uniform("v", shape, 0.01, 2),
          .learning_rate = 0.05,
          .l2 = arena.coin() ? 0.1 : 0,
          .decay = arena.coin() ? 0.1 : 0,
          .step = arena.size(1000),
          .rates = arena.coin() ? arena.doubles({0.03, 1.7, 2.9}) : View()};
}

kernels::AdamRows pose_rows(test::Arena& arena, std::int64_t max_items) {
  const std::int64_t items = arena.size(max_items), width = arena.size(70),
                     length = arena.size(items), count = arena.size(length);
  return {.parameter = arena.changed("parameter", {items, width}),
          .rows = arena.distinct_ids(count, length, items),
          .values = arena.normal({length, width}),
          .m = arena.changed("m", {items, width}),
          .v = arena.changed_uniform("v", {items, width}, 0.01, 2),
          .learning_rate = 0.05,
          .l2 = arena.coin() ? 0.1 : 0,
          .decay = arena.coin() ? 0.1 : 0,
          .step = arena.size(1000),
          .rates = arena.coin() ? arena.doubles({0.03, 1.7, 2.9}) : View()};
}

}  // namespace

CUDA_ENTRY(Adam) { return pose_dense(arena, 70000); }

CUDA_ENTRY(AdamRows) { return pose_rows(arena, 400); }

CUDA_ENTRY(AdamMany) {
  std::vector<kernels::Adam> dense;
  std::vector<kernels::AdamRows> sparse;
  for (std::int64_t i = arena.size(70); i > 0; --i) {
    if (arena.coin()) {
      dense.push_back(pose_dense(arena, 3000));
    } else {
      sparse.push_back(pose_rows(arena, 100));
    }
  }
  return {.dense = arena.list(dense), .sparse = arena.list(sparse)};
}

CUDA_ENTRY(Sgd) {
  const Shape shape{arena.size(70000)};
  const bool momentum = arena.coin();
  return {.parameter = arena.changed("parameter", shape),
          .gradient = arena.normal(shape),
          .velocity = momentum ? arena.changed("velocity", shape) : MutableView(),
          .learning_rate = 0.05,
          .momentum = momentum ? 0.9 : 0,
          .l2 = arena.coin() ? 0.1 : 0,
          .rates = arena.coin() ? arena.doubles({0.03}) : View()};
}

CUDA_ENTRY(SgdRows) {
  const std::int64_t items = arena.size(400), width = arena.size(70), length = arena.size(items),
                     count = arena.size(length);
  return {.parameter = arena.changed("parameter", {items, width}),
          .rows = arena.distinct_ids(count, length, items),
          .values = arena.normal({length, width}),
          .learning_rate = 0.05,
          .l2 = arena.coin() ? 0.1 : 0,
          .rates = arena.coin() ? arena.doubles({0.03}) : View()};
}

CUDA_ENTRY(ClipFactor) {
  return {.squares = arena.uniform({arena.size(300)}, 0, 3),
          .norm = arena.output("norm", {}),
          .factor = arena.output("factor", {}),
          .max_norm = arena.one_of({1e-3, 1.0, 20.0, 1e6})};
}
