#pragma once
/// The extents of a convolution as kernels and messages of tests see them.

#include <string>

#include "refrain/core/error.hpp"
#include "refrain/kernels/causal_conv.hpp"
#include "support/naive_conv.hpp"

namespace refrain::test {

inline std::string text(const naive::ConvSizes& s) {
  return detail::concat("B ", s.batch, " T ", s.steps, " Cin ", s.in, " Cout ", s.out, " K ",
                        s.taps, " dilation ", s.dilation, s.same ? " same" : " causal");
}

inline kernels::Padding padding(const naive::ConvSizes& size) {
  return size.same ? kernels::Padding::same : kernels::Padding::causal;
}

}  // namespace refrain::test
