// Gather of table rows, and addition of rows to a table, on the GPU. Device: f32, f64 (copies: any
// type).
//   gather_rows  out[i,:] = table[ids[i],:]                     2 n C elements moved
//   add_rows     to[rows[j],:] += values[j,:], rows[j] >= 0     3 n C
// A team of threads per row, each 16 bytes at a time (tiling/row_moves.cuh). Bound by memory
// bandwidth; gather_rows of scattered rows shorter than 32 bytes also by the size of a memory
// sector.

#include "kernels/gather/gather.cuh"
#include "kernels/kernel.hpp"
#include "kernels/tiling/rows.hpp"
#include "refrain/kernels/gather.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {
template <>
void kernel(const GatherRows& args) {
  const GatheredRow source{.table = args.table.data, .ids = args.ids.as<std::int32_t>()};
  move_rows(GatherRows::name, args.ids.shape.numel(), row_bytes(args.table), source, args.out.data,
            args.table.data);
}

template <>
void kernel(const AddRows& args) {
  for_floating<AddRows>(args.to.dtype, [&]<class T>(T) {
    constexpr int n = simt::Pack<T>::count;
    const std::int64_t rows = args.rows.shape[0];
    const std::int64_t width = row_elements(args.to.shape);
    const std::int32_t* ids = args.rows.as<std::int32_t>();
    if (rows == 0 || width == 0) return;
    if (width % n == 0 && simt::aligned_16(args.values.as<T>(), args.to.as<T>())) {
      const RowGrid grid = row_grid(rows, width / n);
      simt::launch(row_launch(AddRows::name, grid), add_to_rows<n, T>, grid, ids,
                   args.values.as<T>(), args.to.as<T>());
    } else {
      const RowGrid grid = row_grid(rows, width);
      simt::launch(row_launch(AddRows::name, grid), add_to_rows<1, T>, grid, ids,
                   args.values.as<T>(), args.to.as<T>());
    }
  });
}

template void entry(const GatherRows&, ScratchMemory&);
template void entry(const AddRows&, ScratchMemory&);

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
