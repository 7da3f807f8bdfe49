#pragma once
/// One convolution for the graph API of cuDNN, and its execution.

#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>

#include "refrain/core/math_mode.hpp"
#include "support/cudnn/handle_cuda.hpp"

namespace refrain::kernels::cudnn {

/// Which of a convolution's three products.
enum class Direction : std::uint8_t { forward, to_input, to_filter };

/// x [B,T,Cin], y [B,T,Cout], filter [Cout,K,Cin] with the oldest step first (layouts.hpp);
/// `before` and `after` steps of zeros at the ends of a sequence, (K-1) dilation together.
/// Everything that a plan depends on.
struct Problem {
  std::int64_t batch, steps, in, out, taps, dilation, before, after;
  std::int64_t x_alignment, y_alignment;  ///< that of the filter is 16
  Direction direction;
  MathMode mode;

  friend auto operator<=>(const Problem&, const Problem&) = default;
};

/// The tensors of a Problem: two are read, the one that the direction names is overwritten.
struct Operands {
  const void* x;
  const void* filter;
  const void* y;
  void* workspace;
};

/// Throws Unsupported when cuDNN has no engine that the mode allows and that gives the same bits
/// each time.
void run(const Problem& problem, const Operands& operands, cudaStream_t stream);
std::size_t workspace_bytes(const Problem& problem);
/// On a GPU that JSON describes. Throws OptionError when this cuDNN describes them by other
/// properties.
std::size_t workspace_bytes(const Problem& problem, const std::string& device);

}  // namespace refrain::kernels::cudnn
