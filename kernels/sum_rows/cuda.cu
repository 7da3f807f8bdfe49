// Column sums of a matrix on the GPU.  Device: f32, f64.
//   sum_rows  out[c] = sum over rows of x[row,c]                             rows C elements moved
// sum_columns (tiling/column_sums.cuh), two launches, no atomics. Bound by memory bandwidth.

#include "kernels/kernel.hpp"
#include "kernels/tiling/column_sums.cuh"
#include "refrain/kernels/sum_rows.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

template <>
void kernel(const SumRows& args, Scratch& scratch) {
  for_floating<SumRows>(args.x.dtype, [&]<class T>(T) {
    const std::int64_t rows = args.x.shape.rows();
    const std::int64_t width = args.x.shape[-1];
    T* const parts = scratch.take<T>(column_parts(rows, width, 1));
    if (scratch.is_counting()) return;
    const MatrixTerms<T, 1> terms{.from = args.x.as<T>(), .stride = width, .apart = 0};
    sum_columns(SumRows::name, terms, rows, width, {.to = {args.out.as<T>()}, .stride = 0}, parts);
  });
}

template void entry(const SumRows&, ScratchMemory&);

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
