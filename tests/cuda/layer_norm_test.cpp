/// Layer normalization.

#include "refrain/kernels/layer_norm.hpp"
#include "cuda/arena.hpp"

using namespace refrain;

CUDA_ENTRY(LayerNormForward) {
  const std::int64_t rows = arena.size(300), width = arena.size(1030);
  return {.x = arena.normal({rows, width}, 2),
          .gamma = arena.normal({width}),
          .beta = arena.normal({width}),
          .y = arena.output("y", {rows, width}),
          .normalized = arena.maybe_output("normalized", {rows, width}),
          .inv_std = arena.maybe_output("inv_std", {rows}),
          .epsilon = 1e-3};
}

CUDA_ENTRY(LayerNormBackward) {
  const std::int64_t rows = arena.size(300), width = arena.size(1030);
  return {.gamma = arena.normal({width}),
          .normalized = arena.normal({rows, width}),
          .inv_std = arena.uniform({rows}, 0.5, 2),
          .dy = arena.normal({rows, width}),
          .dx = arena.maybe_output("dx", {rows, width}),
          .dgamma = arena.maybe_output("dgamma", {width}),
          .dbeta = arena.output("dbeta", {width})};
}
