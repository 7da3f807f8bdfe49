#pragma once
/// Chunk attention on every backend, and the results of the loops of naive_attention.hpp.

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "refrain/kernels/chunk_attention.hpp"
#include "support/cases/backend.hpp"
#include "support/cases/outputs.hpp"
#include "support/naive_attention.hpp"

namespace refrain::test {

struct AttentionSize {
  std::int64_t length, batch, hidden, width;
  int offset = 0;  ///< elements past a multiple of 16 bytes where inputs start
};

template <class Backend, class T>
struct AttentionProblem {
  static constexpr Device where = Backend::device;
  using Array = GuardedArray<T, where>;

  explicit AttentionProblem(const AttentionSize& of)
      : size(of),
        first(random_array<T, where>({of.batch, of.hidden}, 1, 1, of.offset)),
        rest(random_array<T, where>({of.length - 1, of.batch, of.hidden}, 2, 1, of.offset)),
        weight(random_array<T, where>({of.width, of.hidden}, 3, 0.5, of.offset)),
        query(random_array<T, where>({of.batch, of.width}, 4)),
        score(random_array<T, where>({of.width}, 5)),
        dout(random_array<T, where>({of.batch, of.hidden}, 6)),
        out({of.batch, of.hidden}),
        alpha({of.length, of.batch}),
        tanh({of.length, of.batch, of.width}) {}

  /// Sets units and scores of opposite signs, so that exp of their differences overflows.
  void saturate() {
    std::fill_n(weight.data(), size.width * size.hidden, T{0});
    weight.data()[0] = T(1e4);
    weight.data()[size.hidden + 1] = T(-1e4);
    score.data()[0] = T(3e4);
    score.data()[1] = T(-2e4);
  }

  naive::ChunkAttentionResults expected() const {
    naive::Values chunk = first.doubles();  // all hidden vectors, [l,B,H]
    const naive::Values more = rest.doubles();
    chunk.insert(chunk.end(), more.begin(), more.end());
    return naive::chunk_attention({.length = size.length,
                                   .batch = size.batch,
                                   .hidden = size.hidden,
                                   .width = size.width,
                                   .chunk = chunk,
                                   .weight = weight.doubles(),
                                   .query = query.doubles(),
                                   .score = score.doubles(),
                                   .dout = dout.doubles()});
  }

  void forward(MutableView to_out, MutableView to_alpha, MutableView to_tanh) const {
    Backend::run(kernels::ChunkAttentionForward{.first = first,
                                                .rest = size.length > 1 ? rest.view() : View(),
                                                .weight = weight,
                                                .query = query,
                                                .score = score,
                                                .out = to_out,
                                                .alpha = to_alpha,
                                                .tanh = to_tanh});
  }
  /// Keeps alpha and tanh for the backward pass.
  void forward() { forward(out, alpha, tanh); }

  /// Gradients of first, rest, weight, query, score.
  template <class Gradients>
  void backward(Gradients& d) const {
    Backend::run(kernels::ChunkAttentionBackward{.first = first,
                                                 .rest = size.length > 1 ? rest.view() : View(),
                                                 .weight = weight,
                                                 .score = score,
                                                 .alpha = alpha,
                                                 .tanh = tanh,
                                                 .dout = dout,
                                                 .dfirst = d[0],
                                                 .drest = size.length > 1 ? d[1] : MutableView(),
                                                 .dweight = d[2],
                                                 .dquery = d[3],
                                                 .dscore = d[4]});
  }

  /// Compares both passes with the naive loops.
  void check(Choices choices) {
    INFO("l " << size.length << " B " << size.batch << " H " << size.hidden << " A " << size.width
              << past(size.offset));
    const naive::ChunkAttentionResults results = expected();
    check_outputs<Backend, T>({{out.shape(), results.out, true},
                               {alpha.shape(), results.alpha},
                               {tanh.shape(), results.tanh}},
                              {.choices = choices},
                              [&](auto& outputs) { forward(outputs[0], outputs[1], outputs[2]); });
    forward();
    const std::array<naive::Values, 5> d = results.gradients();
    const Shape rest_shape{size.length - 1, size.batch, size.hidden};
    check_outputs<Backend, T>({{first.shape(), d[0]},
                               {rest_shape, size.length > 1 ? d[1] : naive::Values()},
                               {weight.shape(), d[2]},
                               {query.shape(), d[3]},
                               {score.shape(), d[4]}},
                              {.choices = choices}, [&](auto& outputs) { backward(outputs); });
  }

  AttentionSize size;
  Array first, rest, weight, query, score, dout, out, alpha, tanh;
};

}  // namespace refrain::test
