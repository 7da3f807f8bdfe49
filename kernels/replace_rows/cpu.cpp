// Replaces the rows with a given id by one row. Copies work on bytes; the gradient of the row is
// summed by one thread in the order of positions, since few rows have the id.

#include <cstring>

#include "kernels/kernel.hpp"
#include "kernels/tiling/row_blocks.hpp"
#include "refrain/core/parallel.hpp"
#include "refrain/kernels/replace_rows.hpp"

namespace refrain::kernels::cpu {

template <>
void kernel(const ReplaceRows& args) {
  const std::int64_t width = args.row.shape.numel();
  const std::size_t bytes = static_cast<std::size_t>(width) * size_bytes(args.x.dtype);
  const std::int32_t* ids = args.ids.as<std::int32_t>();
  parallel_for(
      args.ids.shape.numel(), rows_per_task(width), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
          const std::size_t at = static_cast<std::size_t>(i) * bytes;
          std::memcpy(args.y.as<char>() + at,
                      ids[i] == args.id ? args.row.as<char>() : args.x.as<char>() + at, bytes);
        }
      });
}

template <>
void kernel(const ReplaceRowsBackward& args) {
  for_floating<ReplaceRowsBackward>(args.dy.dtype, [&]<class T>(T) {
    const std::int64_t width = args.dy.shape[-1];
    const std::int64_t rows = args.ids.shape.numel();
    const std::int32_t* ids = args.ids.as<std::int32_t>();
    if (args.dx) {
      parallel_for(rows, rows_per_task(width), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
          const T* dy = args.dy.as<T>() + i * width;
          T* dx = args.dx.as<T>() + i * width;
          ids[i] == args.id ? std::fill_n(dx, width, T{0}) : std::copy_n(dy, width, dx);
        }
      });
    }
    if (!args.drow) return;
    T* __restrict drow = args.drow.as<T>();
    std::fill_n(drow, width, T{0});
    for (std::int64_t i = 0; i < rows; ++i) {
      if (ids[i] != args.id) continue;
      const T* __restrict dy = args.dy.as<T>() + i * width;
      for (std::int64_t c = 0; c < width; ++c) drow[c] += dy[c];
    }
  });
}

template void entry(const ReplaceRows&, ScratchMemory&);
template void entry(const ReplaceRowsBackward&, ScratchMemory&);

}  // namespace refrain::kernels::cpu
