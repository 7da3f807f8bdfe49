#pragma once
/// The division of the rows of a table among ranks.

#include <algorithm>
#include <cstdint>

#include "refrain/core/error.hpp"
#include "refrain/distributed/slice_tree.hpp"

namespace refrain {

/// V rows in blocks of 64. Block b belongs to shard b mod 64, so that every shard has frequent and
/// rare rows when the rows are sorted by frequency. Rank r of R owns the shards [64 r / R, 64 (r +
/// 1) / R), rounded down. The shards do not depend on R: what is computed for each shard and folded
/// in a tree over the shards has the same bits on any number of ranks.
class RowShards {
 public:
  static constexpr std::int64_t block_rows = 64;
  static constexpr std::int64_t count = 64;  ///< number of shards

  /// Throws OptionError unless 1 <= rows <= 2^31 - 1 and 1 <= ranks <= 64.
  RowShards(std::int64_t rows, int ranks) : rows_(rows), ranks_(ranks) {
    if (rows < 1 || rows > 0x7FFF'FFFF) {
      throw OptionError(
          detail::concat("RowShards: expected rows from 1 to 2147483647, got ", rows));
    }
    if (ranks < 1 || ranks > count)
      throw OptionError(detail::concat("RowShards: expected 1 to ", count, " ranks, got ", ranks));
  }

  std::int64_t rows() const noexcept { return rows_; }
  int ranks() const noexcept { return ranks_; }

  /// The shard of a row, and the number of the row in the shard.
  static std::int64_t shard_of(std::int64_t row) noexcept { return row / block_rows % count; }
  static std::int64_t index_of(std::int64_t row) noexcept {
    return row / (block_rows * count) * block_rows + row % block_rows;
  }
  /// The row with the given number in a shard; ascending with the number.
  static std::int64_t row_of(std::int64_t shard, std::int64_t index) noexcept {
    return (index / block_rows * count + shard) * block_rows + index % block_rows;
  }

  /// Rows of a shard, at most 64 more than those of another one.
  std::int64_t rows_of(std::int64_t shard) const noexcept { return rows_before(shard, rows_); }
  /// Rows of a shard that are below row `end`. These are the first rows of the shard.
  static std::int64_t rows_before(std::int64_t shard, std::int64_t end) noexcept {
    const std::int64_t period = block_rows * count;
    const std::int64_t rest = end % period - shard * block_rows;
    return end / period * block_rows + std::clamp<std::int64_t>(rest, 0, block_rows);
  }

  SliceRange shards_of(int rank) const noexcept { return tree().slices_of(rank, ranks_); }
  int rank_of(std::int64_t row) const noexcept {
    return static_cast<int>(((shard_of(row) + 1) * ranks_ - 1) / count);
  }
  /// Rows from `first` on of all shards of a rank.
  std::int64_t rows_of_rank(int rank, std::int64_t first = 0) const noexcept {
    const SliceRange own = shards_of(rank);
    std::int64_t rows = 0;
    for (std::int64_t shard = own.begin; shard < own.end; ++shard)
      rows += rows_of(shard) - rows_before(shard, first);
    return rows;
  }

  /// The tree over the shards in which their sums are folded.
  static SliceTree tree() noexcept { return SliceTree(count); }

 private:
  std::int64_t rows_;
  int ranks_;
};

}  // namespace refrain
