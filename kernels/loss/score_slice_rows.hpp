#pragma once
/// Number of rows of a softmax loss whose scores exist in GPU memory at a time.

#include <algorithm>
#include <cstdint>

namespace refrain::kernels::cuda {

/// Rows of a slice whose scores take at most `max_bytes`: whole tiles of the products, and slices
/// of about equal size. At least 16 rows, even if their scores take more.
inline std::int64_t score_slice_rows(std::int64_t all_rows, std::int64_t max_bytes,
                                     std::int64_t bytes_of_row) {
  const auto over = [](std::int64_t a, std::int64_t b) { return (a + b - 1) / b; };
  constexpr std::int64_t tile = 128;
  std::int64_t max_rows = std::max(max_bytes / bytes_of_row, std::int64_t{16});
  if (max_rows >= tile) max_rows = max_rows / tile * tile;
  const std::int64_t even = over(all_rows, std::max<std::int64_t>(1, over(all_rows, max_rows)));
  return std::min(all_rows, max_rows >= tile ? over(even, tile) * tile : even);
}

}  // namespace refrain::kernels::cuda
