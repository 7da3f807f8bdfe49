#pragma once
/// Kernels that copy rows or add rows to rows, and the division of their work.
///
/// A row is `words` words of 16 bytes, or of 4 bytes where its length or an address is not a
/// multiple of 16. Neighbouring threads take neighbouring words; a team of a power of two of
/// threads shares a row, so that short rows leave no lanes idle.

#include <cstdint>

#include "kernels/simt.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

inline constexpr int row_threads = 256;

/// Rows distributed over threads: a team of 2^team_bits threads per row.
struct RowGrid {
  std::int64_t rows;
  std::int64_t words;
  int team_bits;
};

/// The smallest team that needs one pass, or a whole block.
inline RowGrid row_grid(std::int64_t rows, std::int64_t words) {
  int bits = 0;
  while ((1 << bits) < row_threads && (std::int64_t{1} << bits) < words) ++bits;
  return {rows, words, bits};
}

inline simt::Launch row_launch(const char* name, const RowGrid& grid) {
  return {.name = name,
          .grid = simt::blocks_for(grid.rows, row_threads >> grid.team_bits),
          .block = row_threads};
}

/// The words of one thread in a RowGrid.
struct RowShare {
  __device__ __forceinline__ explicit RowShare(const RowGrid& grid)
      : row(static_cast<std::int64_t>(blockIdx.x) * (row_threads >> grid.team_bits) +
            (static_cast<int>(threadIdx.x) >> grid.team_bits)),
        first(static_cast<int>(threadIdx.x) & ((1 << grid.team_bits) - 1)),
        step(1 << grid.team_bits) {}
  std::int64_t row;
  int first;  ///< word
  int step;
};

struct alignas(16) Word16 {
  std::uint32_t at[4];
};
using Word4 = std::uint32_t;

/// out[row,:] = source.row<Word>(row, words)[:]; zeros where that is null.
template <class Word, class Source>
__global__ void __launch_bounds__(row_threads) copy_rows(RowGrid grid, Source source, Word* out) {
  const RowShare share(grid);
  if (share.row >= grid.rows) return;
  const Word* const from = source.template row<Word>(share.row, grid.words);
  Word* const to = out + share.row * grid.words;
  for (std::int64_t word = share.first; word < grid.words; word += share.step)
    to[word] = from == nullptr ? Word{} : from[word];
}

/// Copies `rows` rows of `row_bytes` to `out`. `addresses`: all addresses that the source reads.
template <class Source, class... Addresses>
void move_rows(const char* name, std::int64_t rows, std::int64_t row_bytes, const Source& source,
               void* out, Addresses... addresses) {
  if (rows == 0 || row_bytes == 0) return;
  if (row_bytes % 16 == 0 &&
      simt::aligned_16(static_cast<const char*>(out), static_cast<const char*>(addresses)...)) {
    const RowGrid grid = row_grid(rows, row_bytes / 16);
    simt::launch(row_launch(name, grid), copy_rows<Word16, Source>, grid, source,
                 static_cast<Word16*>(out));
  } else {
    const RowGrid grid = row_grid(rows, row_bytes / 4);
    simt::launch(row_launch(name, grid), copy_rows<Word4, Source>, grid, source,
                 static_cast<Word4*>(out));
  }
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
