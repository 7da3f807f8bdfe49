#pragma once
/// Reference loops in double for convolution, patch and half a residual block, written from the
/// formulas only.

#include <cmath>
#include <numbers>

#include "support/naive.hpp"

namespace refrain::test::naive {

struct ConvSizes {
  std::int64_t batch, steps, in, out, taps, dilation;
  bool same;

  std::int64_t rows() const { return batch * steps; }

  /// Time step that tap k (0 the newest) of time step t reads, or -1 outside the sequence. The
  /// padding in front is the whole receptive field minus one (causal) or half of that, rounded down
  /// (same).
  std::int64_t source(std::int64_t t, std::int64_t k) const {
    const std::int64_t reach = (taps - 1) * dilation;
    const std::int64_t front = same ? reach / 2 : reach;
    const std::int64_t oldest_first = taps - 1 - k;
    const std::int64_t step = t - front + oldest_first * dilation;
    return step < 0 || step >= steps ? -1 : step;
  }
};

/// Calls body(row, source row, k) for every row that the convolution reads.
template <class Body>
void for_reads(const ConvSizes& size, Body body) {
  for (std::int64_t b = 0; b < size.batch; ++b) {
    for (std::int64_t t = 0; t < size.steps; ++t) {
      for (std::int64_t k = 0; k < size.taps; ++k) {
        const std::int64_t step = size.source(t, k);
        if (step >= 0) body(b * size.steps + t, b * size.steps + step, k);
      }
    }
  }
}

inline Values conv(const Values& x, const Values& w, const Values& bias, const ConvSizes& size) {
  Values y(at(size.rows() * size.out));
  for (std::size_t i = 0; i < y.size() && !bias.empty(); ++i) y[i] = bias[i % at(size.out)];
  for_reads(size, [&](std::int64_t row, std::int64_t source, std::int64_t k) {
    for (std::int64_t o = 0; o < size.out; ++o) {
      for (std::int64_t c = 0; c < size.in; ++c) {
        y[at(row * size.out + o)] +=
            w[at((k * size.in + c) * size.out + o)] * x[at(source * size.in + c)];
      }
    }
  });
  return y;
}

struct ConvGradients {
  Values dx, dw, dbias;
};

inline ConvGradients conv_backward(const Values& x, const Values& w, const Values& dy,
                                   const ConvSizes& size) {
  ConvGradients d{Values(at(size.rows() * size.in)), Values(w.size()),
                  column_sums(dy, size.rows(), size.out)};
  for_reads(size, [&](std::int64_t row, std::int64_t source, std::int64_t k) {
    for (std::int64_t o = 0; o < size.out; ++o) {
      for (std::int64_t c = 0; c < size.in; ++c) {
        const std::size_t weight = at((k * size.in + c) * size.out + o);
        d.dx[at(source * size.in + c)] += w[weight] * dy[at(row * size.out + o)];
        d.dw[weight] += x[at(source * size.in + c)] * dy[at(row * size.out + o)];
      }
    }
  });
  return d;
}

/// Derivative of 0.5 x (1 + tanh(u(x))) by the product rule.
inline double gelu_slope(double x) {
  const double scale = std::sqrt(2 / std::numbers::pi);
  const double t = std::tanh(scale * (x + 0.044715 * x * x * x));
  return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * scale * (1 + 3 * 0.044715 * x * x);
}

struct PatchValues {
  Values down, down_bias, up, up_bias;
};

struct PatchResult {
  Values y, bottleneck;
};

/// x + gelu(x down + down_bias) up + up_bias.
inline PatchResult patch(const Values& x, const PatchValues& p, std::int64_t rows) {
  const std::int64_t channels = static_cast<std::int64_t>(p.up_bias.size());
  const std::int64_t width = static_cast<std::int64_t>(p.down_bias.size());
  PatchResult out{x, matmul(x, p.down, p.down_bias, rows, width, channels, false, false)};
  Values active = out.bottleneck;
  for (double& value : active) value = gelu(value);
  const Values added = matmul(active, p.up, p.up_bias, rows, channels, width, false, false);
  for (std::size_t i = 0; i < added.size(); ++i) out.y[i] += added[i];
  return out;
}

struct PatchBackward {
  Values dx;
  PatchValues d;
};

inline PatchBackward patch_backward(const Values& x, const PatchValues& p, const Values& bottleneck,
                                    const Values& dy, std::int64_t rows) {
  const std::int64_t channels = static_cast<std::int64_t>(p.up_bias.size());
  const std::int64_t width = static_cast<std::int64_t>(p.down_bias.size());
  Values active = bottleneck;
  for (double& value : active) value = gelu(value);
  Values dm = matmul(dy, p.up, {}, rows, width, channels, false, true);
  for (std::size_t i = 0; i < dm.size(); ++i) dm[i] *= gelu_slope(bottleneck[i]);
  PatchBackward out{
      dy,
      {matmul(x, dm, {}, channels, width, rows, true, false), column_sums(dm, rows, width),
       matmul(active, dy, {}, width, channels, rows, true, false),
       column_sums(dy, rows, channels)}};
  const Values back = matmul(dm, p.down, {}, rows, channels, width, false, true);
  for (std::size_t i = 0; i < back.size(); ++i) out.dx[i] += back[i];
  return out;
}

enum class Place { none, serial, parallel };

struct HalfWeights {
  Values w, bias, gamma, beta;
  PatchValues patch;
};

struct HalfResult {
  Values y, normalized, inv_std, conv, bottleneck;
};

/// relu(layer_norm(h)) (+ residual),  h = conv(x), patch(conv(x)) or conv(x) + patch(x).
inline HalfResult half(const Values& x, const HalfWeights& weights, const Values& residual,
                       const ConvSizes& size, Place place, double epsilon) {
  HalfResult out;
  out.conv = conv(x, weights.w, weights.bias, size);
  Values h = out.conv;
  if (place != Place::none) {
    const PatchResult patched =
        patch(place == Place::serial ? out.conv : x, weights.patch, size.rows());
    out.bottleneck = patched.bottleneck;
    if (place == Place::serial) h = patched.y;
    for (std::size_t i = 0; place == Place::parallel && i < h.size(); ++i) h[i] += patched.y[i];
  }
  const LayerNorm norm = layer_norm(h, weights.gamma, weights.beta, size.rows(), epsilon);
  out.normalized = norm.normalized;
  out.inv_std = norm.inv_std;
  out.y = norm.y;
  for (std::size_t i = 0; i < out.y.size(); ++i)
    out.y[i] = std::max(0.0, out.y[i]) + (residual.empty() ? 0.0 : residual[i]);
  return out;
}

struct HalfGradients {
  Values dx, dw, dbias, dgamma, dbeta;
  PatchValues patch;
};

inline HalfGradients half_backward(const Values& x, const HalfWeights& weights,
                                   const HalfResult& saved, const Values& dy, const ConvSizes& size,
                                   Place place) {
  const std::size_t channels = weights.gamma.size();
  HalfGradients out;
  out.dgamma.resize(channels);
  out.dbeta.resize(channels);
  Values dh(dy.size());
  for (std::size_t row = 0; row < at(size.rows()); ++row) {
    const double* n = saved.normalized.data() + row * channels;
    Values g(channels);
    double mean = 0;
    double along = 0;
    for (std::size_t c = 0; c < channels; ++c) {
      const double open =
          weights.gamma[c] * n[c] + weights.beta[c] > 0 ? dy[row * channels + c] : 0.0;
      out.dgamma[c] += open * n[c];
      out.dbeta[c] += open;
      g[c] = open * weights.gamma[c];
      mean += g[c] / static_cast<double>(channels);
      along += g[c] * n[c] / static_cast<double>(channels);
    }
    for (std::size_t c = 0; c < channels; ++c)
      dh[row * channels + c] = saved.inv_std[row] * (g[c] - mean - n[c] * along);
  }
  Values dconv = dh;
  Values skip;
  if (place != Place::none) {
    PatchBackward patched = patch_backward(place == Place::serial ? saved.conv : x, weights.patch,
                                           saved.bottleneck, dh, size.rows());
    out.patch = std::move(patched.d);
    (place == Place::serial ? dconv : skip) = std::move(patched.dx);
  }
  ConvGradients conv = conv_backward(x, weights.w, dconv, size);
  out.dx = std::move(conv.dx);
  out.dw = std::move(conv.dw);
  out.dbias = std::move(conv.dbias);
  for (std::size_t i = 0; i < skip.size(); ++i) out.dx[i] += skip[i];
  return out;
}

}  // namespace refrain::test::naive
