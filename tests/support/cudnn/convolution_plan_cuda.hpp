#pragma once
/// One convolution in the graph API of cuDNN, and its execution.

#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>

#include "refrain/core/math_mode.hpp"
#include "support/cudnn/handle_cuda.hpp"

namespace refrain::kernels::cudnn {

/// One of the three products of a convolution.
enum class Direction : std::uint8_t { forward, to_input, to_filter };

/// x [B,T,Cin], y [B,T,Cout], filter [Cout,K,Cin] with the oldest time step first (layouts.hpp);
/// `before` and `after` time steps of zeros at the ends of a sequence, together (K-1) dilation. A
/// plan depends on nothing else.
struct Problem {
  std::int64_t batch, steps, in, out, taps, dilation, before, after;
  std::int64_t x_alignment, y_alignment;  ///< the alignment of the filter is 16
  Direction direction;
  MathMode mode;

  friend auto operator<=>(const Problem&, const Problem&) = default;
};

/// The tensors of a Problem: two are read, the one of the direction is overwritten.
struct Operands {
  const void* x;
  const void* filter;
  const void* y;
  void* workspace;
};

/// Throws Unsupported when cuDNN has no deterministic engine that the mode allows.
void run(const Problem& problem, const Operands& operands, cudaStream_t stream);
std::size_t workspace_bytes(const Problem& problem);
/// The workspace for a GPU that JSON describes. Throws OptionError when this cuDNN describes GPUs
/// by other properties.
std::size_t workspace_bytes(const Problem& problem, const std::string& device);

}  // namespace refrain::kernels::cudnn
