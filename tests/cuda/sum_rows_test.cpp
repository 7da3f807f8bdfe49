/// Column sums.

#include "cuda/arena.hpp"

using namespace refrain;

CUDA_ENTRY(sum_rows) {
  const std::int64_t rows = arena.size(3000), width = arena.size(130);
  return {.x = arena.normal({rows, width}), .out = arena.output("out", {width})};
}
