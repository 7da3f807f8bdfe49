#pragma once
/// Reference loops in double, written from the formulas only. Arrays are row-major.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <numbers>
#include <numeric>
#include <vector>

namespace refrain::test::naive {

using Values = std::vector<double>;
using Ids = std::vector<std::int32_t>;

constexpr std::size_t at(std::int64_t index) { return static_cast<std::size_t>(index); }

/// c[i,j] = bias[j] + sum_l op(a)[i,l] op(b)[l,j].
inline Values matmul(const Values& a, const Values& b, const Values& bias, std::int64_t m,
                     std::int64_t n, std::int64_t k, bool transpose_a, bool transpose_b) {
  Values c(at(m * n));
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      double sum = bias.empty() ? 0.0 : bias[at(j)];
      for (std::int64_t l = 0; l < k; ++l) {
        sum +=
            a[at(transpose_a ? l * m + i : i * k + l)] * b[at(transpose_b ? j * k + l : l * n + j)];
      }
      c[at(i * n + j)] = sum;
    }
  }
  return c;
}

struct LayerNorm {
  Values y, normalized, inv_std;
};

inline LayerNorm layer_norm(const Values& x, const Values& gamma, const Values& beta,
                            std::int64_t rows, double epsilon) {
  const std::size_t width = gamma.size();
  LayerNorm out{x, x, Values(at(rows))};
  for (std::size_t row = 0; row < at(rows); ++row) {
    double mean = 0;
    for (std::size_t c = 0; c < width; ++c) mean += x[row * width + c] / static_cast<double>(width);
    double variance = 0;
    for (std::size_t c = 0; c < width; ++c)
      variance += std::pow(x[row * width + c] - mean, 2) / static_cast<double>(width);
    out.inv_std[row] = 1 / std::sqrt(variance + epsilon);
    for (std::size_t c = 0; c < width; ++c) {
      out.normalized[row * width + c] = (x[row * width + c] - mean) * out.inv_std[row];
      out.y[row * width + c] = gamma[c] * out.normalized[row * width + c] + beta[c];
    }
  }
  return out;
}

struct LayerNormGradients {
  Values dx, dgamma, dbeta;
};

inline LayerNormGradients layer_norm_backward(const Values& gamma, const Values& normalized,
                                              const Values& inv_std, const Values& dy) {
  const std::size_t width = gamma.size();
  LayerNormGradients d{{}, Values(width), Values(width)};
  for (std::size_t row = 0; row < inv_std.size(); ++row) {
    const std::size_t first = row * width;
    double mean = 0, slope = 0;
    for (std::size_t c = 0; c < width; ++c) {
      mean += dy[first + c] * gamma[c] / static_cast<double>(width);
      slope += dy[first + c] * gamma[c] * normalized[first + c] / static_cast<double>(width);
      d.dgamma[c] += dy[first + c] * normalized[first + c];
      d.dbeta[c] += dy[first + c];
    }
    for (std::size_t c = 0; c < width; ++c)
      d.dx.push_back(inv_std[row] *
                     (dy[first + c] * gamma[c] - mean - normalized[first + c] * slope));
  }
  return d;
}

/// table[ids[i], :].
inline Values gather(const Values& table, const Ids& ids, std::int64_t width) {
  Values out;
  for (const std::int32_t id : ids) {
    for (std::int64_t c = 0; c < width; ++c) out.push_back(table[at(id * width + c)]);
  }
  return out;
}

/// Sum of the rows of each id.
inline std::map<std::int32_t, Values> sums_by_id(const Ids& ids, const Values& rows,
                                                 std::int64_t width) {
  std::map<std::int32_t, Values> sums;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    Values& sum = sums.try_emplace(ids[i], Values(at(width))).first->second;
    for (std::size_t c = 0; c < at(width); ++c) sum[c] += rows[i * at(width) + c];
  }
  return sums;
}

inline Values column_sums(const Values& x, std::int64_t rows, std::int64_t width) {
  Values sums(at(width));
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t c = 0; c < width; ++c) sums[at(c)] += x[at(row * width + c)];
  }
  return sums;
}

/// All indices of a row, best score first, ties by index, NaN last.
inline Ids ranking(const Values& scores) {
  Ids order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    const double x = scores[at(a)];
    const double y = scores[at(b)];
    return std::isnan(y) ? !std::isnan(x) : x > y;
  });
  return order;
}

inline double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

inline double gelu(double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
}

struct AdamOptions {
  double learning_rate, beta1, beta2, epsilon, l2, decay;
  int step;
};

/// One Adam step for one number.
inline void adam(double& parameter, double gradient, double& m, double& v, const AdamOptions& o) {
  const double g = gradient + o.l2 * parameter;
  m = o.beta1 * m + (1 - o.beta1) * g;
  v = o.beta2 * v + (1 - o.beta2) * g * g;
  const double m_hat = m / (1 - std::pow(o.beta1, o.step));
  const double v_hat = v / (1 - std::pow(o.beta2, o.step));
  parameter -= o.learning_rate * (m_hat / (std::sqrt(v_hat) + o.epsilon) + o.decay * parameter);
}

}  // namespace refrain::test::naive
