#pragma once
/// The largest scores.  Dtypes f32, f64.

#include "refrain/kernels/top_k.hpp"
#include "refrain/ops/check.hpp"

namespace refrain {

/// Scores and their positions, both [...,k], descending; ties by ascending position.
struct TopKResult {
  Tensor values;
  Tensor indices;  ///< i32
};

/// The k largest of each row of scores [...,V].  Throws ShapeError unless 0 < k <= V.
inline TopKResult top_k(const Tensor& scores, std::int64_t k) {
  detail::check_has_rows("top_k", "scores", scores);
  if (k < 1 || k > scores.size(-1))
    throw ShapeError(detail::concat("top_k: expected 1 <= k <= ", scores.size(-1), ", got ", k));
  const Shape shape = scores.shape().with(-1, k);
  TopKResult top{empty_like(scores, shape), Tensor(shape, DType::i32, scores.device())};
  kernels::run(kernels::TopK{.scores = scores, .values = top.values, .indices = top.indices});
  return top;
}

}  // namespace refrain
