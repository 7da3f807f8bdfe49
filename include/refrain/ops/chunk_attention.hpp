#pragma once

#include <cstdint>
#include <utility>

#include "refrain/ops/check.hpp"

namespace refrain {

/// Attention over the l hidden vectors of a chunk, c_1 = first, c_2, ... = rest.
///
///   z_j = score . tanh(weight c_j + query),  alpha = softmax(z),  out = sum_j alpha_j c_j
///
/// first [B,H], rest [l-1,B,H] or undefined (l = 1: then the result is `first`), query [B,A],
/// weight [A,H], score [A] -> [B,H]. Dtypes f32, f64. Throws ShapeError, DTypeError, DeviceError.
/// Source: CmnRec, equations 8 to 10.
inline Variable chunk_attention(const Variable& first, const Variable& rest, const Variable& query,
                                const Variable& weight, const Variable& score) {
  constexpr const char* op = "chunk_attention";
  ops::check_rank(op, "first", first, 2);
  const std::int64_t batch = first.size(0);
  const std::int64_t hidden = first.size(1);
  ops::check_rank(op, "weight", weight, 2);
  const std::int64_t width = weight.size(0);
  ops::check_shape(op, "weight", weight, {width, hidden});
  ops::check_shape(op, "query", query, {batch, width});
  ops::check_shape(op, "score", score, {width});
  if (rest.defined()) {
    ops::check_rank(op, "rest", rest, 3);
    ops::check_shape(op, "rest", rest, {rest.size(0), batch, hidden});
  }
  ops::check_like(op, first, {&rest, &query, &weight, &score});
  if (!rest.defined() || rest.size(0) == 0) return first;
  const bool saved = is_recorded({&first, &rest, &query, &weight, &score});
  const auto empty = [&](const Shape& shape) {
    return Tensor(shape, first.dtype(), first.device());
  };
  const std::int64_t length = rest.size(0) + 1;
  Tensor out = empty({batch, hidden});
  Tensor alpha = saved ? empty({length, batch}) : Tensor();
  Tensor tanh = saved ? empty({length, batch, width}) : Tensor();
  kernels::table(first.device())
      .chunk_attention_forward({.first = first.value().view(),
                                .rest = rest.value().view(),
                                .weight = weight.value().view(),
                                .query = query.value().view(),
                                .score = score.value().view(),
                                .out = out.mutable_view(),
                                .alpha = ops::mutable_view_of(alpha),
                                .tanh = ops::mutable_view_of(tanh)});
  return record(op, std::move(out), {first, rest, query, weight, score},
                [alpha, tanh, c1 = first.value(), c = rest.value(), w = weight.value(),
                 v = score.value()](const Tensor& dy, InputGradients& in) {
                  const auto wanted = [&](int index, const Shape& shape) {
                    return in.wants(index) ? Tensor(shape, dy.dtype(), dy.device()) : Tensor();
                  };
                  Tensor gradients[] = {wanted(0, c1.shape()), wanted(1, c.shape()),
                                        wanted(2, {c1.size(0), w.size(0)}), wanted(3, w.shape()),
                                        wanted(4, v.shape())};
                  kernels::table(dy.device())
                      .chunk_attention_backward({.first = c1.view(),
                                                 .rest = c.view(),
                                                 .weight = w.view(),
                                                 .score = v.view(),
                                                 .alpha = alpha.view(),
                                                 .tanh = tanh.view(),
                                                 .dout = dy.view(),
                                                 .dfirst = ops::mutable_view_of(gradients[0]),
                                                 .drest = ops::mutable_view_of(gradients[1]),
                                                 .dweight = ops::mutable_view_of(gradients[3]),
                                                 .dquery = ops::mutable_view_of(gradients[2]),
                                                 .dscore = ops::mutable_view_of(gradients[4])});
                  for (int i = 0; i < 5; ++i) {
                    if (gradients[i].defined()) in.add(i, std::move(gradients[i]));
                  }
                });
}

}  // namespace refrain
