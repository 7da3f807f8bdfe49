/// Element-by-element entries.

#include <algorithm>
#include <cmath>

#include "cuda/arena.hpp"
#include "refrain/kernels/pointwise.hpp"

using namespace refrain;
using kernels::UnaryFunction;

namespace {
constexpr auto functions = {UnaryFunction::relu, UnaryFunction::gelu, UnaryFunction::sigmoid,
                            UnaryFunction::tanh};
}

CUDA_ENTRY(UnaryForward) {
  const Shape shape{arena.size(70000)};
  return {.x = arena.normal(shape, 3),
          .y = arena.output("y", shape),
          .function = arena.one_of(functions)};
}

CUDA_ENTRY(UnaryBackward) {
  const Shape shape{arena.size(70000)};
  return {.x = arena.normal(shape, 3),
          .dy = arena.normal(shape),
          .dx = arena.output("dx", shape),
          .function = arena.one_of(functions)};
}

CUDA_ENTRY(LinearCombination) {
  const Shape shape{arena.size(70000)};
  return {.a = arena.normal(shape),
          .b = arena.coin() ? arena.normal(shape) : View(),
          .out = arena.output("out", shape),
          .alpha = 0.75,
          .beta = -1.5};
}

CUDA_ENTRY(Multiply) {
  const Shape shape{arena.size(70000)};
  return {.a = arena.normal(shape),
          .b = arena.normal(arena.coin() ? shape : Shape{1}),
          .out = arena.output("out", shape)};
}

CUDA_ENTRY(Dot) {
  const Shape shape{arena.size(200000)};
  // Scaled so that the sum of the products, which partly cancel, is about one.
  const double deviation =
      std::pow(static_cast<double>(std::max<std::int64_t>(1, shape.numel())), -0.25);
  return {.a = arena.normal(shape, deviation),
          .b = arena.coin() ? arena.normal(shape, deviation) : View(),
          .out = arena.output("out", {})};
}

CUDA_ENTRY(Dropout) {
  const Shape shape{arena.size(70000)};
  return {.x = arena.normal(shape),
          .y = arena.output("y", shape),
          .keep = arena.one_of({1.0, 0.9, 0.5, 1e-3}),
          .seed = static_cast<std::uint64_t>(arena.below(std::int64_t{1} << 62)),
          .stream = static_cast<std::uint64_t>(arena.below(std::int64_t{1} << 62)),
          .position = static_cast<std::uint64_t>(arena.below(std::int64_t{1} << 62)),
          .shift = arena.coin() ? arena.count(arena.below(1000000)) : View()};
}
