#pragma once
/// One step of an external memory for one sequence: loops in double, written from the formulas.
/// They also run on dual numbers, which gives exact derivatives.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <vector>

namespace refrain::test::naive {

/// A number and its derivative in one direction.
struct Dual {
  double value = 0;
  double slope = 0;

  Dual() = default;
  Dual(double v, double s = 0)
      : value(v), slope(s) {}  // NOLINT(google-explicit-constructor): constants have slope 0

  friend Dual operator+(Dual a, Dual b) { return {a.value + b.value, a.slope + b.slope}; }
  friend Dual operator-(Dual a, Dual b) { return {a.value - b.value, a.slope - b.slope}; }
  friend Dual operator*(Dual a, Dual b) {
    return {a.value * b.value, a.slope * b.value + a.value * b.slope};
  }
  friend Dual operator/(Dual a, Dual b) {
    return {a.value / b.value, a.slope / b.value - a.value / b.value * (b.slope / b.value)};
  }
  friend bool operator<(Dual a, Dual b) { return a.value < b.value; }
  friend Dual exp(Dual a) { return {std::exp(a.value), std::exp(a.value) * a.slope}; }
  friend Dual sqrt(Dual a) { return {std::sqrt(a.value), a.slope / (2 * std::sqrt(a.value))}; }
  friend Dual log1p(Dual a) { return {std::log1p(a.value), a.slope / (1 + a.value)}; }
};

struct MemorySize {
  std::size_t words, width, heads;
  std::size_t interface() const { return heads * width + 3 * width + 5 * heads + 3; }
};

template <class S>
struct MemoryOf {
  std::vector<S> words, usage, precedence, link, write_weighting, read_weightings, read_vectors;
};

template <class S>
S gate(S x) {
  using std::exp;
  return S(1) / (S(1) + exp(S(0) - x));
}

template <class S>
S strength(S x) {
  using std::exp;
  using std::log1p;
  const S rest = x < S(0) ? exp(x) : exp(S(0) - x);
  return S(1) + (x < S(0) ? S(0) : x) + log1p(rest);
}

template <class S>
std::vector<S> softmax(std::vector<S> x) {
  using std::exp;
  const S largest = *std::max_element(x.begin(), x.end());
  S total = 0;
  for (S& value : x) {
    value = exp(value - largest);
    total = total + value;
  }
  for (S& value : x) value = value / total;
  return x;
}

template <class S>
std::vector<S> normalized(const std::vector<S>& x) {
  using std::sqrt;
  S squares = 0;
  for (const S& value : x) squares = squares + value * value;
  const S length = sqrt(squares < S(1e-12) ? S(1e-12) : squares);
  std::vector<S> out;
  for (const S& value : x) out.push_back(value / length);
  return out;
}

template <class S>
std::vector<S> piece(const std::vector<S>& x, std::size_t begin, std::size_t count) {
  const auto first = x.begin() + static_cast<std::ptrdiff_t>(begin);
  return {first, first + static_cast<std::ptrdiff_t>(count)};
}

template <class S>
std::vector<S> content(const std::vector<S>& words, const std::vector<S>& key, S sharpness,
                       MemorySize size) {
  const std::vector<S> k = normalized(key);
  std::vector<S> score;
  for (std::size_t n = 0; n < size.words; ++n) {
    const std::vector<S> word = normalized(piece(words, n * size.width, size.width));
    S cosine = 0;
    for (std::size_t c = 0; c < size.width; ++c) cosine = cosine + word[c] * k[c];
    score.push_back(sharpness * cosine);
  }
  return softmax(score);
}

template <class S>
std::vector<S> allocation(const std::vector<S>& usage) {
  std::vector<std::size_t> order(usage.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return usage[a] < usage[b]; });
  std::vector<S> out(usage.size());
  for (std::size_t j = 0; j < order.size(); ++j) {
    S product = S(1) - usage[order[j]];
    for (std::size_t i = 0; i < j; ++i) product = product * usage[order[i]];
    out[order[j]] = product;
  }
  return out;
}

template <class S>
MemoryOf<S> memory_step(const std::vector<S>& interface, const MemoryOf<S>& before,
                        MemorySize size) {
  const auto [N, W, R] = size;
  std::size_t at = 0;
  const auto next = [&](std::size_t count) {
    at += count;
    return piece(interface, at - count, count);
  };
  const std::vector<S> read_keys = next(R * W);
  const std::vector<S> read_strengths = next(R);
  const std::vector<S> write_key = next(W);
  const S write_strength = next(1)[0];
  const std::vector<S> erase = next(W);
  const std::vector<S> write_vector = next(W);
  const std::vector<S> free_gates = next(R);
  const S allocation_gate = gate(next(1)[0]);
  const S write_gate = gate(next(1)[0]);
  const std::vector<S> modes = next(3 * R);

  MemoryOf<S> after = before;
  for (std::size_t n = 0; n < N; ++n) {
    const S u = before.usage[n];
    const S w = before.write_weighting[n];
    after.usage[n] = u + w - u * w;
    for (std::size_t r = 0; r < R; ++r) {
      after.usage[n] =
          after.usage[n] * (S(1) - gate(free_gates[r]) * before.read_weightings[r * N + n]);
    }
  }
  const std::vector<S> found = content(before.words, write_key, strength(write_strength), size);
  const std::vector<S> allocated = allocation(after.usage);
  S written = 0;
  for (std::size_t n = 0; n < N; ++n) {
    after.write_weighting[n] =
        write_gate * (allocation_gate * allocated[n] + (S(1) - allocation_gate) * found[n]);
    written = written + after.write_weighting[n];
  }
  const std::vector<S>& w = after.write_weighting;
  for (std::size_t i = 0; i < N; ++i) {
    for (std::size_t j = 0; j < N; ++j) {
      after.link[i * N + j] =
          i == j ? S(0)
                 : (S(1) - w[i] - w[j]) * before.link[i * N + j] + w[i] * before.precedence[j];
    }
    after.precedence[i] = (S(1) - written) * before.precedence[i] + w[i];
    for (std::size_t c = 0; c < W; ++c) {
      after.words[i * W + c] =
          before.words[i * W + c] * (S(1) - w[i] * gate(erase[c])) + w[i] * write_vector[c];
    }
  }
  after.read_vectors.assign(R * W, S(0));
  for (std::size_t r = 0; r < R; ++r) {
    const std::vector<S> mode = softmax(piece(modes, 3 * r, 3));
    const std::vector<S> alike =
        content(after.words, piece(read_keys, r * W, W), strength(read_strengths[r]), size);
    for (std::size_t i = 0; i < N; ++i) {
      S forward = 0;
      S backward = 0;
      for (std::size_t j = 0; j < N; ++j) {
        forward = forward + after.link[i * N + j] * before.read_weightings[r * N + j];
        backward = backward + after.link[j * N + i] * before.read_weightings[r * N + j];
      }
      after.read_weightings[r * N + i] =
          mode[0] * backward + mode[1] * alike[i] + mode[2] * forward;
      for (std::size_t c = 0; c < W; ++c) {
        S& element = after.read_vectors[r * W + c];
        element = element + after.read_weightings[r * N + i] * after.words[i * W + c];
      }
    }
  }
  return after;
}

}  // namespace refrain::test::naive
