// Column sums of a matrix on the GPU.  Device: f32, f64.
//   sum_rows  out[c] = sum over rows of x[row,c]                             rows C elements moved
// sum_columns (tiling/column_sums.cuh), two launches, no atomics. Limit: memory.

#include "kernels/cuda.hpp"
#include "kernels/tiling/column_sums.cuh"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

void sum_rows(const SumRows& args, Stream stream) {
  for_floating<SumRows>(args.x.dtype, [&]<class T>(T) {
    const std::int64_t width = args.x.shape[-1];
    const MatrixTerms<T, 1> terms{.from = args.x.as<T>(), .stride = width, .apart = 0};
    sum_columns(SumRows::name, terms, args.x.shape.rows(), width,
                {.to = {args.out.as<T>()}, .stride = 0}, args.workspace.as<T>(), stream);
  });
}

std::size_t sum_rows_workspace(const SumRows& args) {
  return static_cast<std::size_t>(column_parts(args.x.shape.rows(), args.x.shape[-1], 1) *
                                  static_cast<std::int64_t>(size_bytes(args.x.dtype)));
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
