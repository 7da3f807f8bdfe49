// Products with a matrix that is packed once for many products, and the gradient of that matrix.
//   packed_matmul       c = a packed (+ bias): tasks are blocks of rows of a, or of panels when
//                       there are few rows
//   add_outer_products  c += a^T b
// The layout is that of kernels/tiling/panels.hpp: panels of two vectors. 2 M N K FLOPs; a task
// reads the packed matrix once.

#include <algorithm>

#include "kernels/kernel.hpp"
#include "kernels/matmul/outer_products.hpp"
#include "refrain/kernels/matmul.hpp"

namespace refrain::kernels::cpu {

template <>
void kernel(const PackWeights& args) {
  const std::int64_t depth = args.b.shape[args.transpose_b ? 1 : 0];
  const std::int64_t columns = args.b.shape[args.transpose_b ? 0 : 1];
  for_floating<PackWeights>(args.b.dtype, [&]<class T>(T) {
    constexpr std::int64_t panel = 2 * Lanes<T>::count;
    parallel_tasks((columns + panel - 1) / panel, [&](std::int64_t task, int) {
      const std::int64_t n = task * panel;
      const T* b = args.b.as<T>() + (args.transpose_b ? n * depth : n);
      pack<T>(b, args.transpose_b ? 1 : columns, args.transpose_b ? depth : 1, depth,
              std::min(panel, columns - n), 0, depth, args.packed.as<T>() + n * depth);
    });
  });
}

template <>
void kernel(const PackedMatmul& args) {
  const std::int64_t rows = args.a.shape[0];
  const std::int64_t depth = args.a.shape[1];
  const std::int64_t columns = args.c.shape[1];
  if (rows == 0 || columns == 0) return;
  for_floating<PackedMatmul>(args.c.dtype, [&]<class T>(T) {
    const auto product = [&](std::int64_t first, std::int64_t count, std::int64_t column,
                             std::int64_t width) {
      block_product<T>(args.a.as<T>() + first * depth, depth, count, depth,
                       Panels<T>::packed(args.packed.as<T>() + column * depth, depth), width,
                       args.c.as<T>() + first * columns + column, columns,
                       Start<T>::row(args.bias.as<T>()).from(0, column));
    };
    constexpr std::int64_t rows_per_block = 8 * tile_rows;
    constexpr std::int64_t min_task = std::int64_t{1} << 18;  // multiply-adds of a task
    if (rows >= 2 * rows_per_block) {
      const std::int64_t blocks = (rows + rows_per_block - 1) / rows_per_block;
      parallel_tasks(blocks, [&](std::int64_t task, int) {
        const std::int64_t first = task * rows_per_block;
        product(first, std::min(rows_per_block, rows - first), 0, columns);
      });
    } else {
      constexpr std::int64_t panel = 2 * Lanes<T>::count;
      // A single row takes the time to read the weights.
      const std::int64_t cost =
          std::max<std::int64_t>(4, rows) * std::max<std::int64_t>(1, depth) * panel;
      const std::int64_t panels = std::max<std::int64_t>(1, min_task / cost);
      parallel_for(columns, panels * panel, [&](std::int64_t begin, std::int64_t end) {
        product(0, rows, begin, end - begin);
      });
    }
  });
}

template <>
void kernel(const AddOuterProducts& args) {
  for_floating<AddOuterProducts>(args.c.dtype, [&]<class T>(T) {
    add_outer<T>(args.a.as<T>(), args.a.shape[1], args.a.shape[1], args.b.as<T>(), args.b.shape[1],
                 args.a.shape[0], args.c.as<T>());
  });
}

template void entry(const PackWeights&, ScratchMemory&);
template void entry(const PackedMatmul&, ScratchMemory&);
template void entry(const AddOuterProducts&, ScratchMemory&);

}  // namespace refrain::kernels::cpu
