/// Convolutions.

#include "refrain/kernels/causal_conv.hpp"
#include "cuda/conv_sizes.hpp"

using namespace refrain;
using test::ConvSizes;
using test::paddings;

CUDA_ENTRY(CausalConvForward) {
  const ConvSizes s(arena);
  return {.x = arena.normal({s.batch, s.steps, s.in}),
          .w = arena.normal({s.taps, s.in, s.out}, s.scale()),
          .bias = arena.coin() ? arena.normal({s.out}) : View(),
          .y = arena.output("y", {s.batch, s.steps, s.out}),
          .dilation = s.dilation,
          .padding = arena.one_of(paddings)};
}

CUDA_ENTRY(CausalConvBackward) {
  const ConvSizes s(arena);
  return {.x = arena.normal({s.batch, s.steps, s.in}),
          .w = arena.normal({s.taps, s.in, s.out}, s.scale()),
          .dy = arena.normal({s.batch, s.steps, s.out}),
          .dx = arena.maybe_output("dx", {s.batch, s.steps, s.in}),
          .dw = arena.maybe_output("dw", {s.taps, s.in, s.out}),
          .dbias = arena.output("dbias", {s.out}),
          .dilation = s.dilation,
          .padding = arena.one_of(paddings)};
}
