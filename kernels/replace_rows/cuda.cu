// Rows replaced by one row on the GPU.  Device: f32, f64 (replace_rows: any type).
//   replace_rows           y[i,:] = ids[i] == id ? row : x[i,:]              2 n C elements moved
//   replace_rows_backward  dx[i,:] = ids[i] == id ? 0 : dy[i,:]              2 n C
//                          drow = sum of dy[i,:] over ids[i] == id           n C
// Copies: a team of threads per row, 16 bytes each at a time (tiling/row_moves.cuh). The sum:
// sum_columns (tiling/column_sums.cuh), two launches, no atomics. Limit: memory.

#include "kernels/cuda.hpp"
#include "kernels/replace_rows/replace_rows.cuh"
#include "kernels/tiling/column_sums.cuh"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

void replace_rows(const ReplaceRows& args, Stream stream) {
  const ReplacedRow source{.x = args.x.data,
                           .replacement = args.row.data,
                           .ids = args.ids.as<std::int32_t>(),
                           .id = args.id};
  const std::int64_t bytes =
      args.row.shape.numel() * static_cast<std::int64_t>(size_bytes(args.row.dtype));
  move_rows(ReplaceRows::name, args.ids.shape.numel(), bytes, source, args.y.data, stream,
            args.x.data, args.row.data);
}

void replace_rows_backward(const ReplaceRowsBackward& args, Stream stream) {
  const std::int64_t rows = args.ids.shape.numel();
  const std::int64_t width = args.dy.shape[-1];
  const std::int32_t* ids = args.ids.as<std::int32_t>();
  if (args.dx) {
    const ReplacedRow source{.x = args.dy.data, .replacement = nullptr, .ids = ids, .id = args.id};
    move_rows(ReplaceRowsBackward::name, rows,
              width * static_cast<std::int64_t>(size_bytes(args.dy.dtype)), source, args.dx.data,
              stream, args.dy.data);
  }
  if (!args.drow) return;
  for_floating<ReplaceRowsBackward>(args.dy.dtype, [&]<class T>(T) {
    const ReplacedTerms<T> terms{.dy = args.dy.as<T>(), .ids = ids, .id = args.id, .width = width};
    sum_columns(ReplaceRowsBackward::name, terms, rows, width,
                {.to = {args.drow.as<T>()}, .stride = 0}, args.workspace.as<T>(), stream);
  });
}

std::size_t replace_rows_backward_workspace(const ReplaceRowsBackward& args) {
  return static_cast<std::size_t>(column_parts(args.ids.shape.numel(), args.dy.shape[-1], 1) *
                                  static_cast<std::int64_t>(size_bytes(args.dy.dtype)));
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
