// Rows with a certain id give way to one row.
// Copies work on bytes; the gradient of the row is summed on one thread in the order of positions,
// since few rows have the id.

#include <cstring>

#include "kernels/cpu.hpp"
#include "kernels/tiling/row_blocks.hpp"
#include "refrain/core/parallel.hpp"

namespace refrain::kernels::cpu {

void replace_rows(const ReplaceRows& args, Stream) {
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

void replace_rows_backward(const ReplaceRowsBackward& args, Stream) {
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

}  // namespace refrain::kernels::cpu
