#pragma once
/// Half of a NextItNet residual block at the next time step of many streams.  Dtypes f32, f64.

#include <cstddef>
#include <span>

#include "refrain/ops/conv_norm.hpp"

namespace refrain {

using kernels::HalfOfTask;

/// The part of a task in conv_norm_of_streams(): a patch, or none with Insertion::none, and scale
/// and shift [C], or none (null) to use those of the block. It refers to the elements of the
/// parameters, and is valid while they exist and stay where they are. Throws ShapeError, DTypeError
/// or DeviceError for parameters that do not fit each other, OptionError for a bank and for
/// parameters off the CPU.
inline HalfOfTask half_of_task(const PatchParameters& patch, Insertion insertion,
                               const Variable* gamma, const Variable* beta) {
  constexpr const char* op = "half_of_task";
  HalfOfTask half;
  const auto adopt = [&](const Variable& row) {
    if (row.device() != Device::cpu)
      throw OptionError(
          detail::concat(op, ": expected parameters on the CPU, got some on ", row.device()));
    half.channels = row.size(0);
    half.dtype = row.dtype();
  };
  if (insertion != Insertion::none) {
    if (patch.is_bank())
      throw OptionError(detail::concat(op, ": expected the patch of one task, got a bank"));
    detail::check_rank(op, "patch.up_bias", patch.up_bias, 1);
    detail::check_patch(op, patch, patch.up_bias);
    adopt(patch.up_bias);
    half.insertion = insertion;
    half.bottleneck = patch.down.size(1);
    half.down = patch.down.value().raw();
    half.down_bias = patch.down_bias.value().raw();
    half.up = patch.up.value().raw();
    half.up_bias = patch.up_bias.value().raw();
  }
  if (gamma == nullptr || beta == nullptr) return half;
  detail::check_rank(op, "gamma", *gamma, 1);
  detail::check_shape(op, "beta", *beta, gamma->shape());
  if (insertion != Insertion::none) {
    detail::check_shape(op, "gamma", *gamma, patch.up_bias.shape());
    detail::check_like(op, patch.up_bias, *gamma, *beta);
  } else {
    detail::check_like(op, *gamma, *beta);
  }
  adopt(*gamma);
  half.gamma = gamma->value().raw();
  half.beta = beta->value().raw();
  return half;
}

/// conv_norm() at the next time step of B streams of a causal network, each under its task.
///
/// x [B,C]: the time step; before: [B,K-1] pointers, tap k > 0 of stream b reads the C elements at
/// before[b,k-1], which have the dtype of x; weight [K,C,C], bias, gamma, beta [C], residual [B,C]
/// or undefined; tasks [B], not null -> [B,C]. A stream has the bits that it has alone. Streams of
/// a task should lie side by side, with the same pointer. No gradients. On the CPU. Throws
/// ShapeError, DTypeError, DeviceError, OptionError.
inline Tensor conv_norm_of_streams(const Variable& x, std::span<const void* const> before,
                                   const Variable& weight, const Variable& bias,
                                   const Variable& gamma, const Variable& beta,
                                   const Variable& residual,
                                   std::span<const HalfOfTask* const> tasks, double epsilon) {
  constexpr const char* op = "conv_norm_of_streams";
  detail::check_rank(op, "x", x, 2);
  detail::check_rank(op, "weight", weight, 3);
  const std::int64_t streams = x.size(0), channels = x.size(1);
  if (weight.size(0) < 1)
    throw ShapeError(detail::concat(op, ": expected a weight [K,C,C] of at least one tap, got ",
                                    weight.shape()));
  detail::check_shape(op, "weight", weight, {weight.size(0), channels, channels});
  for (const auto& [name, row] : {std::pair{"bias", &bias}, {"gamma", &gamma}, {"beta", &beta}})
    detail::check_shape(op, name, *row, {channels});
  detail::check_optional(op, "residual", residual, x.shape());
  detail::check_like(op, x, weight, bias, gamma, beta, residual);
  detail::check_epsilon(op, epsilon);
  if (std::ssize(tasks) != streams || std::ssize(before) != streams * (weight.size(0) - 1)) {
    throw ShapeError(detail::concat(op, ": expected ", streams, " tasks and ", weight.size(0) - 1,
                                    " earlier rows for each, got ", tasks.size(), " and ",
                                    before.size()));
  }
  for (const HalfOfTask* const half : tasks) {
    if (half->channels == 0) continue;
    if (half->channels != channels)
      throw ShapeError(
          detail::concat(op, ": expected a task of ", channels, " channels, got ", half->channels));
    if (half->dtype != x.dtype())
      throw DTypeError(
          detail::concat(op, ": expected a task of ", x.dtype(), ", got ", half->dtype));
  }
  Tensor y = empty_like(x.value());
  kernels::run(kernels::ConvNormOfStreams{.x = x,
                                          .before = before,
                                          .tasks = tasks,
                                          .w = weight,
                                          .bias = bias,
                                          .gamma = gamma,
                                          .beta = beta,
                                          .residual = residual,
                                          .y = y,
                                          .epsilon = epsilon});
  return y;
}

}  // namespace refrain
