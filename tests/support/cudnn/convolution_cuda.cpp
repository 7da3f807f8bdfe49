// Dilated convolution by cuDNN (convolution_plan_cuda.cpp): the contracts as cuDNN operations.
//   forward    filter = w reordered; y = conv(x, filter); y += bias
//   backward   dx from filter and dy;  the gradient of the filter from x and dy, reordered to dw;
//              dbias = sum of the rows of dy
// Reordering, bias and dbias are our kernels.

#include <algorithm>

#include "refrain/kernels/run.hpp"
#include "refrain/kernels/sum_rows.hpp"
#include "support/cudnn/convolution_plan_cuda.hpp"
#include "support/cudnn/functions.hpp"
#include "support/cudnn/layouts.hpp"

namespace refrain::kernels::cudnn {
namespace {

using refrain::cuda::current_queue;

/// Largest power of two up to 16 that divides an address.
std::int64_t alignment(const void* pointer) {
  const auto address = reinterpret_cast<std::uintptr_t>(pointer);
  for (std::uintptr_t power = 16; power > 4; power /= 2) {
    if (address % power == 0) return static_cast<std::int64_t>(power);
  }
  return 4;
}

/// Throws Unsupported for bf16 and for convolutions without elements.
Problem problem_of(Direction direction, const Shape& y, const Shape& w, std::int64_t dilation,
                   Padding padding) {
  const std::int64_t after = look_ahead(padding, w[0], dilation);
  const Problem problem{.batch = y[0],
                        .steps = y[1],
                        .in = w[1],
                        .out = w[2],
                        .taps = w[0],
                        .dilation = dilation,
                        .before = (w[0] - 1) * dilation - after,
                        .after = after,
                        .x_alignment = 4,
                        .y_alignment = 4,
                        .direction = direction,
                        .mode = math_mode()};
  if (problem.mode == MathMode::bf16)
    throw Unsupported("cuDNN convolution: f32 tensors are not rounded to bf16");
  if (y.numel() * w.numel() == 0)
    throw Unsupported(
        refrain::detail::concat("cuDNN convolution: empty tensors, y ", y, ", w ", w));
  return problem;
}

Problem problem_of(const CausalConvForward& args) {
  Problem problem =
      problem_of(Direction::forward, args.y.shape, args.w.shape, args.dilation, args.padding);
  problem.x_alignment = alignment(args.x.data);
  problem.y_alignment = alignment(args.y.data);
  return problem;
}

Problem problem_of(Direction direction, const CausalConvBackward& args) {
  const Shape& w = args.w ? args.w.shape : args.dw.shape;
  Problem problem = problem_of(direction, args.dy.shape, w, args.dilation, args.padding);
  problem.x_alignment = alignment(direction == Direction::to_input ? args.dx.data : args.x.data);
  problem.y_alignment = alignment(args.dy.data);
  return problem;
}

cuda::Taps taps_of(const Shape& w) { return {.taps = w[0], .in = w[1], .out = w[2]}; }

/// Calls visit(problem) for each requested product.
template <class Visit>
void for_products(const CausalConvBackward& args, Visit visit) {
  if (args.dx) visit(problem_of(Direction::to_input, args));
  if (args.dw) visit(problem_of(Direction::to_filter, args));
}

/// The largest workspace of the requested products; `device` as for workspace_bytes().
template <class... Device>
std::size_t own_bytes(const CausalConvBackward& args, const Device&... device) {
  std::size_t largest = 0;
  for_products(args, [&](const Problem& problem) {
    largest = std::max(largest, workspace_bytes(problem, device...));
  });
  return largest;
}

}  // namespace

void causal_conv_forward(const CausalConvForward& args, Scratch& scratch) {
  check_f32<CausalConvForward>(args.y.dtype);
  const Problem problem = problem_of(args);
  float* const filter = take_floats(scratch, args.w.shape.numel());
  void* const own = take_bytes(scratch, workspace_bytes(problem)).data;
  if (scratch.is_counting()) return;
  cuda::filter_from_taps(args.w.as<float>(), taps_of(args.w.shape), filter);
  run(problem, {args.x.data, filter, args.y.data, own}, current_queue());
  if (!args.bias) return;
  cuda::add_to_rows(args.y.as<float>(), args.bias.as<float>(), args.y.shape.rows(), args.y.shape[2],
                    args.y.as<float>());
}

std::size_t forward_plan_bytes(const CausalConvForward& args, const std::string& device) {
  return workspace_bytes(problem_of(args), device);
}

void causal_conv_backward(const CausalConvBackward& args, Scratch& scratch) {
  check_f32<CausalConvBackward>(args.dy.dtype);
  if (args.dx || args.dw) {
    // dx is finished before dw begins, so they share memory.
    float* const filter = take_floats(scratch, (args.w ? args.w.shape : args.dw.shape).numel());
    void* const own = take_bytes(scratch, own_bytes(args)).data;
    for_products(args, [&](const Problem& problem) {
      if (scratch.is_counting()) return;
      if (problem.direction == Direction::to_input) {
        cuda::filter_from_taps(args.w.as<float>(), taps_of(args.w.shape), filter);
        run(problem, {args.dx.data, filter, args.dy.data, own}, current_queue());
      } else {
        run(problem, {args.x.data, filter, args.dy.data, own}, current_queue());
        cuda::taps_from_filter(filter, taps_of(args.dw.shape), args.dw.as<float>());
      }
    });
  }
  if (args.dbias && !scratch.is_counting()) kernels::run(SumRows{.x = args.dy, .out = args.dbias});
}

std::size_t backward_plan_bytes(const CausalConvBackward& args, const std::string& device) {
  return own_bytes(args, device);
}

}  // namespace refrain::kernels::cudnn
