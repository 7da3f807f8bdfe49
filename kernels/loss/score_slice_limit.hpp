#pragma once
/// How many rows of a softmax loss have their scores in GPU memory at once, and the losses with
/// that as an argument.

#include <algorithm>
#include <cstdint>

#include "kernels/cuda.hpp"

namespace refrain::kernels::cuda {

/// The scores of a slice of rows take `bytes`. The library multiplies more rows at a higher rate,
/// and on an H100 that outweighs that a small slice would stay in the second-level cache: 6,400
/// rows of 256 channels and 10,670 items take 2.7 ms at once, 3.1 in slices of 32 MiB.
struct ScoreSliceLimit {
  std::int64_t bytes = 384 << 20;

  /// Rows of a slice: whole tiles of the products, slices of about the same size. Never fewer than
  /// 16, whatever those take.
  std::int64_t rows_of_slice(std::int64_t all_rows, std::int64_t bytes_of_row) const {
    const auto over = [](std::int64_t a, std::int64_t b) { return (a + b - 1) / b; };
    constexpr std::int64_t tile = 128;
    std::int64_t most = std::max(bytes / bytes_of_row, std::int64_t{16});
    if (most >= tile) most = most / tile * tile;
    const std::int64_t even = over(all_rows, std::max<std::int64_t>(1, over(all_rows, most)));
    return std::min(all_rows, most >= tile ? over(even, tile) * tile : even);
  }
};

inline namespace REFRAIN_SIMT_BACKEND {

void softmax_loss_in_slices(const SoftmaxLoss& args, const ScoreSliceLimit& limits, Stream stream);
std::size_t softmax_loss_in_slices_workspace(const SoftmaxLoss& args,
                                             const ScoreSliceLimit& limits);
void sampled_softmax_loss_in_slices(const SampledSoftmaxLoss& args, const ScoreSliceLimit& limits,
                                    Stream stream);
std::size_t sampled_softmax_loss_in_slices_workspace(const SampledSoftmaxLoss& args,
                                                     const ScoreSliceLimit& limits);

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
