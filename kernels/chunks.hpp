#pragma once
/// How work on rows is cut into tasks. Every cut depends on sizes alone, never on the number of
/// threads.

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace refrain::kernels::cpu {

/// Elements of cheap work (a load, a few operations, a store) that are worth a task on another
/// thread.
inline constexpr std::int64_t task_elements = 16384;

/// Rows of `width` elements per task.
constexpr std::int64_t rows_per_task(std::int64_t width, std::int64_t elements = task_elements) {
  return std::max<std::int64_t>(1, elements / std::max<std::int64_t>(1, width));
}

/// Rows cut into chunks whose column sums are kept apart and then added in order, so that the
/// result does not depend on threads.
class RowChunks {
 public:
  /// `sums` column sums of `width` elements each per chunk.
  RowChunks(std::int64_t rows, std::int64_t width, std::int64_t sums)
      : rows_(rows),
        rows_per_chunk_(
            std::max(rows_per_task(width), (rows + most_chunks(width) - 1) / most_chunks(width))),
        stride_((sums * width + 31) / 32 * 32) {}

  std::int64_t count() const { return (rows_ + rows_per_chunk_ - 1) / rows_per_chunk_; }
  std::int64_t begin(std::int64_t chunk) const { return chunk * rows_per_chunk_; }
  std::int64_t end(std::int64_t chunk) const {
    return std::min(rows_, (chunk + 1) * rows_per_chunk_);
  }
  /// Elements between the sums of two chunks; chunks never share a cache line.
  std::int64_t stride() const { return stride_; }
  std::size_t bytes(std::size_t element_bytes) const {
    return static_cast<std::size_t>(count() * stride_) * element_bytes;
  }

  /// out[c] = sum over chunks of partial[chunk * stride + c], in rising order.
  template <class T>
  void add_up(const T* __restrict partial, std::int64_t width, T* __restrict out) const {
    std::fill_n(out, width, T{0});
    for (std::int64_t chunk = 0; chunk < count(); ++chunk) {
      const T* __restrict from = partial + chunk * stride_;
      for (std::int64_t c = 0; c < width; ++c) out[c] += from[c];
    }
  }

 private:
  /// Bounds the workspace: sums of wide rows are long.
  static constexpr std::int64_t most_chunks(std::int64_t width) {
    return std::clamp<std::int64_t>((std::int64_t{1} << 20) / std::max<std::int64_t>(1, width), 1,
                                    256);
  }
  std::int64_t rows_;
  std::int64_t rows_per_chunk_;
  std::int64_t stride_;
};

}  // namespace refrain::kernels::cpu
