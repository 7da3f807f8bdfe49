// Replaces the rows with a given id by one row, on the GPU. Device: f32, f64 (replace_rows: any
// type).
//   replace_rows           y[i,:] = ids[i] == id ? row : x[i,:]              2 n C elements moved
//   replace_rows_backward  dx[i,:] = ids[i] == id ? 0 : dy[i,:]              2 n C
//                          drow = sum of dy[i,:] over ids[i] == id           n C
// With a bank each sequence has its row (tiling/bank_rows.cuh).
// Copies: a team of threads per row, each 16 bytes at a time (tiling/row_moves.cuh). Sum:
// tiling/column_sums.cuh, two launches, of a bank one, no atomics. Bound by memory bandwidth.

#include "kernels/kernel.hpp"
#include "kernels/replace_rows/replace_rows.cuh"
#include "kernels/tiling/column_sums.cuh"
#include "refrain/kernels/replace_rows.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

template <>
void kernel(const ReplaceRows& args) {
  const ReplacedRow source{.x = args.x.data,
                           .replacement = args.row.data,
                           .ids = args.ids.as<std::int32_t>(),
                           .id = args.id,
                           .bank = BankRows::of(args.bank_rows, args.ids.shape.numel())};
  const std::int64_t bytes =
      args.x.shape[-1] * static_cast<std::int64_t>(size_bytes(args.row.dtype));
  move_rows(ReplaceRows::name, args.ids.shape.numel(), bytes, source, args.y.data, args.x.data,
            args.row.data);
}

template <>
void kernel(const ReplaceRowsBackward& args, Scratch& scratch) {
  const std::int64_t rows = args.ids.shape.numel();
  const std::int64_t width = args.dy.shape[-1];
  const std::int32_t* ids = args.ids.as<std::int32_t>();
  if (args.dx && !scratch.is_counting()) {
    const ReplacedRow source{.x = args.dy.data, .replacement = nullptr, .ids = ids, .id = args.id};
    move_rows(ReplaceRowsBackward::name, rows,
              width * static_cast<std::int64_t>(size_bytes(args.dy.dtype)), source, args.dx.data,
              args.dy.data);
  }
  if (!args.drow) return;
  const BankRows bank = BankRows::of(args.bank_rows, rows);
  for_floating<ReplaceRowsBackward>(args.dy.dtype, [&]<class T>(T) {
    const ReplacedTerms<T> terms{.dy = args.dy.as<T>(), .ids = ids, .id = args.id, .width = width};
    if (bank.rows != nullptr) {
      if (scratch.is_counting()) return;
      sum_columns_of_bank(ReplaceRowsBackward::name, terms, bank, args.drow.shape[0], width,
                          {.to = {args.drow.as<T>()}, .stride = width});
      return;
    }
    T* const parts = scratch.take<T>(column_parts(rows, width, 1));
    if (scratch.is_counting()) return;
    sum_columns(ReplaceRowsBackward::name, terms, rows, width,
                {.to = {args.drow.as<T>()}, .stride = 0}, parts);
  });
}

template void entry(const ReplaceRows&, ScratchMemory&);
template void entry(const ReplaceRowsBackward&, ScratchMemory&);

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
