/// Parameter updates.

#include "cuda/arena.hpp"

using namespace refrain;

CUDA_ENTRY(adam) {
  const Shape shape{arena.size(70000)};
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

CUDA_ENTRY(adam_rows) {
  const std::int64_t items = arena.size(400), width = arena.size(70), length = arena.size(items), count = arena.size(length);
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

CUDA_ENTRY(sgd) {
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

CUDA_ENTRY(sgd_rows) {
  const std::int64_t items = arena.size(400), width = arena.size(70), length = arena.size(items), count = arena.size(length);
  return {.parameter = arena.changed("parameter", {items, width}),
          .rows = arena.distinct_ids(count, length, items),
          .values = arena.normal({length, width}),
          .learning_rate = 0.05,
          .l2 = arena.coin() ? 0.1 : 0,
          .rates = arena.coin() ? arena.doubles({0.03}) : View()};
}

CUDA_ENTRY(clip_factor) {
  return {.squares = arena.uniform({arena.size(300)}, 0, 3),
          .norm = arena.output("norm", {}),
          .factor = arena.output("factor", {}),
          .max_norm = arena.one_of({1e-3, 1.0, 20.0, 1e6})};
}
