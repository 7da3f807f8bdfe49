#pragma once
/// Attention over a chunk, forward and backward: loops in double, written from the formulas, one
/// sequence at a time.

#include <array>
#include <cmath>
#include <cstdint>

#include "support/naive.hpp"

namespace refrain::test::naive {

/// Inputs: chunk [l,B,H], weight [A,H], query [B,A], score [A], and the gradient dout [B,H].
struct ChunkAttention {
  std::int64_t length, batch, hidden, width;
  Values chunk, weight, query, score, dout;
};

/// Results and gradients: alpha [l,B], tanh [l,B,A], dchunk [l,B,H].
struct ChunkAttentionResults {
  Values out, alpha, tanh, dchunk, dweight, dquery, dscore;

  /// Gradients of the chunk's first vectors [B,H], of the rest, of weight, query and score.
  std::array<Values, 5> gradients() const {
    const auto split = dchunk.begin() + static_cast<std::ptrdiff_t>(out.size());
    return {Values(dchunk.begin(), split), Values(split, dchunk.end()), dweight, dquery, dscore};
  }
};

inline ChunkAttentionResults chunk_attention(const ChunkAttention& c) {
  const auto& [length, batch, hidden, width, chunk, weight, query, score, dout] = c;
  ChunkAttentionResults e{Values(at(batch * hidden)),
                          Values(at(length * batch)),
                          Values(at(length * batch * width)),
                          Values(at(length * batch * hidden)),
                          Values(at(width * hidden)),
                          Values(at(batch * width)),
                          Values(at(width))};
  for (std::int64_t b = 0; b < batch; ++b) {
    const auto vector = [&](std::int64_t j) { return at((j * batch + b) * hidden); };
    const auto hidden_units = [&](std::int64_t j) { return at((j * batch + b) * width); };
    Values z(at(length));
    for (std::int64_t j = 0; j < length; ++j) {
      for (std::int64_t a = 0; a < width; ++a) {
        double sum = query[at(b * width + a)];
        for (std::int64_t i = 0; i < hidden; ++i)
          sum += weight[at(a * hidden + i)] * chunk[vector(j) + at(i)];
        e.tanh[hidden_units(j) + at(a)] = std::tanh(sum);
        z[at(j)] += score[at(a)] * std::tanh(sum);
      }
    }
    // alpha_j = 1 / sum_k exp(z_k - z_j): needs no maximum, and is exact when one z dominates.
    for (std::int64_t j = 0; j < length; ++j) {
      double total = 0;
      for (const double other : z) total += std::exp(other - z[at(j)]);
      e.alpha[at(j * batch + b)] = 1 / total;
    }
    for (std::int64_t i = 0; i < hidden; ++i) {
      for (std::int64_t j = 0; j < length; ++j) {
        e.out[at(b * hidden + i)] += e.alpha[at(j * batch + b)] * chunk[vector(j) + at(i)];
      }
    }
    // d out / d z_j = alpha_j (c_j - out).
    for (std::int64_t j = 0; j < length; ++j) {
      const double share = e.alpha[at(j * batch + b)];
      double dz = 0;
      for (std::int64_t i = 0; i < hidden; ++i) {
        dz += share * dout[at(b * hidden + i)] *
              (chunk[vector(j) + at(i)] - e.out[at(b * hidden + i)]);
        e.dchunk[vector(j) + at(i)] += share * dout[at(b * hidden + i)];
      }
      for (std::int64_t a = 0; a < width; ++a) {
        const double t = e.tanh[hidden_units(j) + at(a)];
        const double dsum = dz * score[at(a)] * (1 - t * t);
        e.dscore[at(a)] += dz * t;
        e.dquery[at(b * width + a)] += dsum;
        for (std::int64_t i = 0; i < hidden; ++i) {
          e.dweight[at(a * hidden + i)] += dsum * chunk[vector(j) + at(i)];
          e.dchunk[vector(j) + at(i)] += dsum * weight[at(a * hidden + i)];
        }
      }
    }
  }
  return e;
}

}  // namespace refrain::test::naive
