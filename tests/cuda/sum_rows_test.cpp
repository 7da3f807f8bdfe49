/// Column sums.

#include "refrain/kernels/sum_rows.hpp"
#include "cuda/arena.hpp"

using namespace refrain;

CUDA_ENTRY(SumRows) {
  const std::int64_t rows = arena.size(3000), width = arena.size(130);
  return {.x = arena.normal({rows, width}), .out = arena.output("out", {width})};
}
