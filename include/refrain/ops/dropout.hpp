#pragma once
/// Dropout.  Dtypes f32, f64.

#include "refrain/core/random.hpp"
#include "refrain/kernels/pointwise.hpp"
#include "refrain/ops/captured_draws.hpp"
#include "refrain/ops/check.hpp"

namespace refrain {

/// Zeroes each element with probability 1 - keep and divides the others by keep; any shape.
/// Advances `random` by ceil(numel / 4) blocks; the mask depends only on the state of `random`.
/// Throws ShapeError, DTypeError, OptionError unless 0 < keep <= 1.
inline Variable dropout(const Variable& x, double keep, Random& random) {
  detail::check_defined("dropout", "x", x);
  detail::check_like("dropout", x);
  if (!(keep > 0 && keep <= 1))
    throw OptionError(detail::concat("dropout: expected 0 < keep <= 1, got ", keep));
  if (keep == 1) return x;
  const RandomState state = random.state();
  const Tensor shift = detail::CapturedDraws::shift_of(random, x.device());
  const auto blocks = static_cast<std::uint64_t>((x.value().numel() + 3) / 4);
  random = Random(RandomState{state.seed, state.stream, state.position + blocks});
  const auto apply_mask = [keep, state, shift](View in, MutableView out) {
    kernels::run(kernels::Dropout{.x = in,
                                  .y = out,
                                  .keep = keep,
                                  .seed = state.seed,
                                  .stream = state.stream,
                                  .position = state.position,
                                  .shift = shift});
  };
  Tensor y = empty_like(x.value());
  apply_mask(x, y);
  return record("dropout", std::move(y), {x},
                [apply_mask](const Tensor& dy, auto& dx) { apply_mask(dy, dx); });
}

}  // namespace refrain
