#pragma once
/// Division of work on rows into tasks. It depends on sizes, never on the number of threads.

#include <algorithm>
#include <cstdint>

namespace refrain::kernels::cpu {

/// Elements of cheap work (a load, a few operations, a store) whose cost outweighs waking a thread.
inline constexpr std::int64_t task_elements = 16384;
/// Bytes of a task that only copies.
inline constexpr std::int64_t copy_bytes_per_task = 65536;

/// Rows of `width` elements per task.
constexpr std::int64_t rows_per_task(std::int64_t width, std::int64_t elements = task_elements) {
  return std::max<std::int64_t>(1, elements / std::max<std::int64_t>(1, width));
}

/// Divides rows into blocks with separate column sums, which are added in order, so that the result
/// does not depend on the number of threads.
class RowBlocks {
 public:
  /// `sums` column sums of `width` elements each per block.
  RowBlocks(std::int64_t rows, std::int64_t width, std::int64_t sums)
      : rows_(rows),
        rows_per_block_(
            std::max(rows_per_task(width), (rows + max_blocks(width) - 1) / max_blocks(width))),
        stride_((sums * width + 31) / 32 * 32) {}

  std::int64_t count() const { return (rows_ + rows_per_block_ - 1) / rows_per_block_; }
  std::int64_t begin(std::int64_t block) const { return block * rows_per_block_; }
  std::int64_t end(std::int64_t block) const {
    return std::min(rows_, (block + 1) * rows_per_block_);
  }
  /// Elements between the sums of two blocks; blocks never share a cache line.
  std::int64_t stride() const { return stride_; }
  /// Elements of the sums of all blocks.
  std::int64_t elements() const { return count() * stride_; }

  /// out[c] = sum over blocks of partial[block * stride + c], in ascending order.
  template <class T>
  void add_up(const T* __restrict partial, std::int64_t width, T* __restrict out) const {
    std::fill_n(out, width, T{0});
    for (std::int64_t block = 0; block < count(); ++block) {
      const T* __restrict from = partial + block * stride_;
      for (std::int64_t c = 0; c < width; ++c) out[c] += from[c];
    }
  }

 private:
  /// Limits the scratch memory of sums of wide rows.
  static constexpr std::int64_t max_blocks(std::int64_t width) {
    return std::clamp<std::int64_t>((std::int64_t{1} << 20) / std::max<std::int64_t>(1, width), 1,
                                    256);
  }
  std::int64_t rows_;
  std::int64_t rows_per_block_;
  std::int64_t stride_;
};

}  // namespace refrain::kernels::cpu
