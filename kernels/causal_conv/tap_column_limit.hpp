#pragma once
/// How much memory the gathered rows of a convolution's taps may take, and the convolutions with
/// that as an argument.

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/cuda.hpp"

namespace refrain::kernels::cuda {

/// Convolutions of many channels (product_conv.cuh) gather the rows that their taps read, in slices
/// of whole sequences. A slice takes
/// `bytes` at most, but never less than one sequence.
struct TapColumnLimit {
  std::int64_t bytes = 64 << 20;

  /// Sequences of a slice; slices of about the same size.
  std::int64_t sequences_of_slice(std::int64_t all, std::int64_t bytes_of_sequence) const {
    const auto over = [](std::int64_t a, std::int64_t b) { return (a + b - 1) / b; };
    const std::int64_t most =
        std::max<std::int64_t>(1, bytes / std::max<std::int64_t>(1, bytes_of_sequence));
    return over(all, std::max<std::int64_t>(1, over(all, most)));
  }
};

inline namespace REFRAIN_SIMT_BACKEND {

void causal_conv_forward_in_slices(const CausalConvForward& args, const TapColumnLimit& limit,
                                   Stream stream);
std::size_t causal_conv_forward_in_slices_workspace(const CausalConvForward& args,
                                                    const TapColumnLimit& limit);
void causal_conv_backward_in_slices(const CausalConvBackward& args, const TapColumnLimit& limit,
                                    Stream stream);
std::size_t causal_conv_backward_in_slices_workspace(const CausalConvBackward& args,
                                                     const TapColumnLimit& limit);
void conv_norm_forward_in_slices(const ConvNormForward& args, const TapColumnLimit& limit,
                                 Stream stream);
std::size_t conv_norm_forward_in_slices_workspace(const ConvNormForward& args,
                                                  const TapColumnLimit& limit);
void conv_norm_backward_in_slices(const ConvNormBackward& args, const TapColumnLimit& limit,
                                  Stream stream);
std::size_t conv_norm_backward_in_slices_workspace(const ConvNormBackward& args,
                                                   const TapColumnLimit& limit);

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
