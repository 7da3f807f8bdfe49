// Replaces the rows with a given id by one row. Copies work on bytes; the gradient of the row is
// summed by one thread in the order of positions, since few rows have the id.

#include <algorithm>
#include <cstring>

#include "kernels/kernel.hpp"
#include "kernels/tiling/row_blocks.hpp"
#include "refrain/core/parallel.hpp"
#include "refrain/kernels/replace_rows.hpp"

namespace refrain::kernels::cpu {

template <>
void kernel(const ReplaceRows& args) {
  const std::int64_t width = args.x.shape[-1];
  const std::int64_t rows = args.ids.shape.numel();
  const std::size_t bytes = static_cast<std::size_t>(width) * size_bytes(args.x.dtype);
  const std::int32_t* const ids = args.ids.as<std::int32_t>();
  const std::int32_t* const bank_rows = args.bank_rows.as<std::int32_t>();
  const std::int64_t rows_per_sequence =
      bank_rows == nullptr ? rows : rows / std::max<std::int64_t>(1, args.bank_rows.shape.numel());
  parallel_for(rows, rows_per_task(width), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::size_t at = static_cast<std::size_t>(i) * bytes;
      const char* from = args.x.as<char>() + at;
      if (ids[i] == args.id) {
        const std::int32_t row = bank_rows == nullptr ? 0 : bank_rows[i / rows_per_sequence];
        from = args.row.as<char>() + static_cast<std::size_t>(row) * bytes;
      }
      std::memcpy(args.y.as<char>() + at, from, bytes);
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
    const std::int32_t* const bank_rows = args.bank_rows.as<std::int32_t>();
    const std::int64_t sequences = bank_rows == nullptr ? 1 : args.bank_rows.shape.numel();
    const std::int64_t rows_per_sequence = rows / std::max<std::int64_t>(1, sequences);
    std::int64_t used = 0;
    T* __restrict drow = nullptr;
    for (std::int64_t b = 0; b < sequences; ++b) {
      if (bank_rows != nullptr && bank_rows[b] == 0) continue;
      if (b == 0 || bank_rows[b] != bank_rows[b - 1]) {
        drow = args.drow.as<T>() + used++ * width;
        std::fill_n(drow, width, T{0});
      }
      for (std::int64_t i = b * rows_per_sequence; i < (b + 1) * rows_per_sequence; ++i) {
        if (ids[i] != args.id) continue;
        const T* __restrict dy = args.dy.as<T>() + i * width;
        for (std::int64_t c = 0; c < width; ++c) drow[c] += dy[c];
      }
    }
  });
}

template void entry(const ReplaceRows&, ScratchMemory&);
template void entry(const ReplaceRowsBackward&, ScratchMemory&);

}  // namespace refrain::kernels::cpu
