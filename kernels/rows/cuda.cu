// Rows picked, replaced, spread and summed on the GPU.  Device: f32, f64 (copies: any type).
//   gather_rows            out[i,:] = table[ids[i],:]                        2 n C elements moved
//   add_rows               to[rows[j],:] += values[j,:], rows[j] >= 0        3 n C
//   select_step            y[b,:] = x[b,step,:]                              2 B C
//   select_step_backward   dx[b,step,:] = dy[b,:], all else zero             B T C
//   replace_rows           y[i,:] = ids[i] == id ? row : x[i,:]              2 n C
//   replace_rows_backward  dx[i,:] = ids[i] == id ? 0 : dy[i,:];  drow = sum of dy[i,:] over ids[i] == id       2 n C, and n C for drow
//   sum_rows               out[c] = sum_rows x[row,c]                        rows C
// Copies and add_rows: a team of threads per row, 16 bytes each at a time (row_moves.cuh). Sums:
// sum_columns (columns.cuh), two launches, no atomics. Limit: memory; gather_rows of scattered rows
// shorter than 32 bytes also the size of a memory sector.

#include "kernels/cuda.hpp"
#include "kernels/rows/columns.cuh"
#include "kernels/rows/kernels.cuh"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {
namespace {

std::int64_t element_bytes(DType dtype) { return static_cast<std::int64_t>(size_bytes(dtype)); }

std::int64_t bytes_of_row(const View& x) { return row_elements(x.shape) * element_bytes(x.dtype); }

}  // namespace

void gather_rows(const GatherRows& args, Stream stream) {
  const GatheredRow source{.table = args.table.data, .ids = args.ids.as<std::int32_t>()};
  move_rows(GatherRows::name, args.ids.shape.numel(), bytes_of_row(args.table), source,
            args.out.data, stream, args.table.data);
}

void add_rows(const AddRows& args, Stream stream) {
  for_floating<AddRows>(args.to.dtype, [&]<class T>(T) {
    constexpr int n = simt::Pack<T>::count;
    const std::int64_t rows = args.rows.shape[0];
    const std::int64_t width = row_elements(args.to.shape);
    const std::int32_t* ids = args.rows.as<std::int32_t>();
    if (rows == 0 || width == 0) return;
    if (width % n == 0 && simt::aligned_16(args.values.as<T>(), args.to.as<T>())) {
      const RowGrid grid = row_grid(rows, width / n);
      simt::launch(row_launch(AddRows::name, grid, stream), add_to_rows<n, T>, grid, ids,
                   args.values.as<T>(), args.to.as<T>());
    } else {
      const RowGrid grid = row_grid(rows, width);
      simt::launch(row_launch(AddRows::name, grid, stream), add_to_rows<1, T>, grid, ids,
                   args.values.as<T>(), args.to.as<T>());
    }
  });
}

void select_step(const SelectStep& args, Stream stream) {
  const StepOfSequence source{.x = args.x.data, .steps = args.x.shape[1], .step = args.step};
  move_rows(SelectStep::name, args.y.shape[0], bytes_of_row(args.y), source, args.y.data, stream,
            args.x.data);
}

void select_step_backward(const SelectStepBackward& args, Stream stream) {
  const SequenceOfStep source{.dy = args.dy.data, .steps = args.dx.shape[1], .step = args.step};
  const std::int64_t rows = args.dx.shape[0] * args.dx.shape[1];
  move_rows(SelectStepBackward::name, rows, bytes_of_row(args.dy), source, args.dx.data, stream,
            args.dy.data);
}

void replace_rows(const ReplaceRows& args, Stream stream) {
  const ReplacedRow source{.x = args.x.data,
                           .replacement = args.row.data,
                           .ids = args.ids.as<std::int32_t>(),
                           .id = args.id};
  const std::int64_t bytes = args.row.shape.numel() * element_bytes(args.row.dtype);
  move_rows(ReplaceRows::name, args.ids.shape.numel(), bytes, source, args.y.data, stream,
            args.x.data, args.row.data);
}

void replace_rows_backward(const ReplaceRowsBackward& args, Stream stream) {
  const std::int64_t rows = args.ids.shape.numel();
  const std::int64_t width = args.dy.shape[-1];
  const std::int32_t* ids = args.ids.as<std::int32_t>();
  if (args.dx) {
    const ReplacedRow source{.x = args.dy.data, .replacement = nullptr, .ids = ids, .id = args.id};
    move_rows(ReplaceRowsBackward::name, rows, width * element_bytes(args.dy.dtype), source,
              args.dx.data, stream, args.dy.data);
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
                                  element_bytes(args.dy.dtype));
}

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
                                  element_bytes(args.x.dtype));
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
