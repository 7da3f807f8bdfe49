#pragma once
/// Batches whose sequences use different rows of banks, tables [K,...]: the tiles of a batch, and
/// the sequences that use a row.
///
/// Grids depend only on shapes, so a captured graph remains valid for other rows of the bank.

#include <algorithm>
#include <cstdint>

#include "kernels/simt.hpp"
#include "refrain/core/view.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

/// Rows [begin, end) of a matrix.
struct RowRange {
  std::int64_t begin;
  std::int64_t end;
};

/// Rows of one sequence that a block takes.
struct RowTile {
  std::int64_t first;
  std::int64_t end;  ///< past the last row of the sequence
  std::int64_t sequence;
};

/// The row of a bank that each sequence of a batch uses. Without a bank all rows of the batch are
/// one sequence, which uses row 0.
struct BankRows {
  const std::int32_t* rows = nullptr;  ///< [sequences], ascending; null: no bank
  std::int64_t sequences = 1;
  std::int64_t steps = 0;  ///< rows of a sequence

  /// `count`: rows of the batch.
  static BankRows of(const View& bank_rows, std::int64_t count) {
    if (!bank_rows) return {.steps = count};
    const std::int64_t sequences = bank_rows.shape.numel();
    return {bank_rows.as<std::int32_t>(), sequences, count / std::max<std::int64_t>(1, sequences)};
  }

  /// Tiles of at most `size` rows in each sequence, and in all.
  __host__ __device__ std::int64_t tiles_per_sequence(int size) const {
    return (steps + size - 1) / size;
  }
  std::int64_t tiles(int size) const { return sequences * tiles_per_sequence(size); }

  template <int size>
  __device__ __forceinline__ RowTile tile(unsigned index) const {
    const unsigned count = static_cast<unsigned>(tiles_per_sequence(size));
    const unsigned sequence = index / count;
    const std::int64_t begin = sequence * steps;
    return {begin + static_cast<std::int64_t>(index % count) * size, begin + steps, sequence};
  }

  __device__ __forceinline__ std::int64_t row_of(std::int64_t sequence) const {
    return rows == nullptr ? 0 : rows[sequence];
  }
  /// True when a sequence uses the row 0 of a bank, which stands for no patch.
  __device__ __forceinline__ bool is_plain(std::int64_t sequence) const {
    return rows != nullptr && rows[sequence] == 0;
  }
};

/// The sequences that use one row of a bank; none: begin == end.
struct BankSegment {
  std::int64_t begin;
  std::int64_t end;
};

/// The first sequence from `begin` on whose row is at least `row`; none: the number of sequences.
__device__ __forceinline__ std::int64_t first_sequence(const BankRows& bank, std::int64_t begin,
                                                       std::int64_t row) {
  for (std::int64_t end = bank.sequences; begin < end;) {
    const std::int64_t middle = (begin + end) / 2;
    if (bank.rows[middle] < row) {
      begin = middle + 1;
    } else {
      end = middle;
    }
  }
  return begin;
}

/// The sequences of the index-th row, from 0, that a batch uses, without row 0. All lanes of a warp
/// call it.
__device__ __forceinline__ BankSegment segment_of(const BankRows& bank, std::int64_t index) {
  std::int64_t begin = bank.sequences;
  for (std::int64_t at = 0; at < bank.sequences; at += simt::warp_size) {
    const std::int64_t b = at + simt::lane();
    const std::int32_t row = b < bank.sequences ? bank.rows[b] : 0;
    const bool starts = row > 0 && (b == 0 || bank.rows[b - 1] != row);
    unsigned all = __ballot_sync(simt::full_mask, starts ? 1 : 0);
    const int count = __popc(all);
    if (index < count) {
      for (; index > 0; --index) all &= all - 1;  // without the lowest bit
      begin = at + __ffs(static_cast<int>(all)) - 1;
      break;
    }
    index -= count;
  }
  if (begin == bank.sequences) return {begin, begin};
  return {begin, first_sequence(bank, begin, std::int64_t{bank.rows[begin]} + 1)};
}

/// Slices of a sum over the rows of a matrix: slice s has rows s * per_slice onwards.
struct EvenSlices {
  std::int64_t rows;
  std::int64_t per_slice;
  __device__ __forceinline__ RowRange operator()(std::int64_t slice) const {
    const std::int64_t begin = slice * per_slice;
    return {begin, begin + per_slice < rows ? begin + per_slice : rows};
  }
};

/// Slice s has the rows of the s-th row of a bank that the batch uses, without row 0.
struct BankSlices {
  BankRows bank;
  __device__ __forceinline__ RowRange operator()(std::int64_t slice) const {
    const BankSegment segment = segment_of(bank, slice);
    return {segment.begin * bank.steps, segment.end * bank.steps};
  }
};

/// The y axis of a grid with one row of blocks for each row of a bank. Throws Unsupported above its
/// limit.
inline unsigned blocks_of_bank(std::int64_t used) {
  if (used > 65'535) {
    throw Unsupported(refrain::detail::concat(
        "CUDA: expected a batch that uses at most 65,535 rows of a bank, got ", used));
  }
  return static_cast<unsigned>(used);
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
