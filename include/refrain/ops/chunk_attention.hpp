#pragma once
/// Attention over a chunk of hidden vectors.  Dtypes f32, f64.

#include <cstdint>
#include <utility>

#include "refrain/kernels/chunk_attention.hpp"
#include "refrain/ops/check.hpp"

namespace refrain {

/// Attention over the l hidden vectors of a chunk, c_1 = first, c_2, ... = rest.
///
///   z_j = score . tanh(weight c_j + query),  alpha = softmax(z),  out = sum_j alpha_j c_j
///
/// first [B,H], rest [l-1,B,H] or undefined (l = 1: then the result is `first`), query [B,A],
/// weight [A,H], score [A] -> [B,H]. Throws ShapeError, DTypeError, DeviceError.
/// Source: CmnRec, equations 8 to 10.
inline Variable chunk_attention(const Variable& first, const Variable& rest, const Variable& query,
                                const Variable& weight, const Variable& score) {
  constexpr const char* op = "chunk_attention";
  detail::check_rank(op, "first", first, 2);
  const std::int64_t batch = first.size(0);
  const std::int64_t hidden = first.size(1);
  detail::check_rank(op, "weight", weight, 2);
  const std::int64_t width = weight.size(0);
  detail::check_shape(op, "weight", weight, {width, hidden});
  detail::check_shape(op, "query", query, {batch, width});
  detail::check_shape(op, "score", score, {width});
  if (rest.defined()) {
    detail::check_rank(op, "rest", rest, 3);
    detail::check_shape(op, "rest", rest, {rest.size(0), batch, hidden});
  }
  detail::check_like(op, first, rest, query, weight, score);
  if (!rest.defined() || rest.size(0) == 0) return first;
  const bool recorded = is_recorded(first, rest, query, weight, score);
  const std::int64_t length = rest.size(0) + 1;
  Tensor out = empty_like(first.value());
  Tensor alpha = recorded ? empty_like(out, {length, batch}) : Tensor();
  Tensor tanh = recorded ? empty_like(out, {length, batch, width}) : Tensor();
  kernels::run(kernels::ChunkAttentionForward{.first = first,
                                              .rest = rest,
                                              .weight = weight,
                                              .query = query,
                                              .score = score,
                                              .out = out,
                                              .alpha = alpha,
                                              .tanh = tanh});
  return record(op, std::move(out), {first, rest, query, weight, score},
                [alpha, tanh, first = first.value(), rest = rest.value(), weight = weight.value(),
                 score = score.value()](const Tensor& dout, auto& dfirst, auto& drest, auto& dquery,
                                        auto& dweight, auto& dscore) {
                  kernels::run(kernels::ChunkAttentionBackward{.first = first,
                                                               .rest = rest,
                                                               .weight = weight,
                                                               .score = score,
                                                               .alpha = alpha,
                                                               .tanh = tanh,
                                                               .dout = dout,
                                                               .dfirst = dfirst,
                                                               .drest = drest,
                                                               .dweight = dweight,
                                                               .dquery = dquery,
                                                               .dscore = dscore});
                });
}

}  // namespace refrain
