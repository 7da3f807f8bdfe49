#pragma once
/// Functions of the forward and the backward step of an external memory, for one sequence: the
/// activated interface vector, and the two weightings of a write (lookup by content, allocation by
/// usage).

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>

#include "kernels/kernel.hpp"
#include "kernels/memory/layout.hpp"
#include "kernels/simd.hpp"
#include "kernels/tiling/row_blocks.hpp"

namespace refrain::kernels::cpu {

/// Number of sequences of a task; each sequence takes several passes over its words and links.
inline std::int64_t sequences_per_task(const MemorySizes& sizes) {
  return rows_per_task(8 * sizes.words * (sizes.width + sizes.words));
}

/// log(1 + exp(x)), exact at both ends.
template <class T>
T softplus(T x) {
  return std::max(x, T{0}) + std::log1p(std::exp(-std::abs(x)));
}

/// The activated values of the raw interface vector, in the same layout.
template <class T>
void activate(const InterfaceLayout& at, const MemorySizes& sizes, const T* raw, T* active) {
  std::copy_n(raw, at.size, active);
  const auto sigmoids = [&](std::int64_t first, std::int64_t count) {
    for_lanes<T>(count, [&]<class L>(L, std::int64_t i) {
      L::store(active + first + i, sigmoid(L::load(raw + first + i)));
    });
  };
  for (std::int64_t r = 0; r < sizes.heads; ++r)
    active[at.read_strengths + r] = 1 + softplus(raw[at.read_strengths + r]);
  active[at.write_strength] = 1 + softplus(raw[at.write_strength]);
  sigmoids(at.erase, sizes.width);
  sigmoids(at.free_gates, sizes.heads + 2);  // the allocation gate and the write gate follow
  for (std::int64_t r = 0; r < sizes.heads; ++r) {
    T* mode = active + at.read_modes + 3 * r;
    const T largest = std::max({mode[0], mode[1], mode[2]});
    T total = 0;
    for (int k = 0; k < 3; ++k) total += mode[k] = exp(mode[k] - largest);
    for (int k = 0; k < 3; ++k) mode[k] /= total;
  }
}

template <class T>
T dot_product(const T* a, const T* b, std::int64_t count) {
  return sum_lanes<T>(count,
                      [&]<class L>(L, std::int64_t i) { return L::load(a + i) * L::load(b + i); });
}

/// y += scale x.
template <class T>
void add_scaled(T* y, T scale, const T* x, std::int64_t count) {
  for_lanes<T>(count, [&]<class L>(L, std::int64_t i) {
    L::store(y + i, L::load(y + i) + scale * L::load(x + i));
  });
}

/// 1 / sqrt(max(squares, 1e-12)), and its derivative flag: 1 when the maximum is `squares`, which a
/// gradient passes through, 0 when it is the bound.
template <class T>
struct InverseNorm {
  static InverseNorm of(const T* x, std::int64_t count) {
    constexpr T min_squares = T(1e-12);
    const T squares = dot_product(x, x, count);
    return {1 / std::sqrt(squares < min_squares ? min_squares : squares),
            squares < min_squares ? T{0} : T{1}};
  }
  T value;
  T live;
};

/// Norms of all words.
template <class T>
void word_norms(const T* words, const MemorySizes& sizes, InverseNorm<T>* norms) {
  for (std::int64_t n = 0; n < sizes.words; ++n)
    norms[n] = InverseNorm<T>::of(words + n * sizes.width, sizes.width);
}

/// weighting = softmax_n(strength cosine_n) with cosine_n = words_n . key / (|words_n| |key|). The
/// largest cosine is subtracted before the product with the strength (1 or more), so that the
/// exponent has no rounding error of a huge product.
template <class T>
void look_up(const T* words, const InverseNorm<T>* norms, const T* key, T strength,
             const MemorySizes& sizes, T* cosine, T* weighting) {
  const T key_norm = InverseNorm<T>::of(key, sizes.width).value;
  T largest = -std::numeric_limits<T>::infinity();
  for (std::int64_t n = 0; n < sizes.words; ++n) {
    cosine[n] = dot_product(words + n * sizes.width, key, sizes.width) * norms[n].value * key_norm;
    largest = std::max(largest, cosine[n]);
  }
  for_lanes<T>(sizes.words, [&]<class L>(L, std::int64_t n) {
    L::store(weighting + n, exp(strength * (L::load(cosine + n) - largest)));
  });
  const T total =
      sum_lanes<T>(sizes.words, [&]<class L>(L, std::int64_t n) { return L::load(weighting + n); });
  for_lanes<T>(sizes.words, [&]<class L>(L, std::int64_t n) {
    L::store(weighting + n, L::load(weighting + n) / total);
  });
}

/// retention_n = prod_r (1 - free_r readings_r,n).
template <class T>
void retain(const T* free_gates, const T* readings, const MemorySizes& sizes, T* retention) {
  std::fill_n(retention, sizes.words, T{1});
  for (std::int64_t r = 0; r < sizes.heads; ++r) {
    const T* reading = readings + r * sizes.words;
    for_lanes<T>(sizes.words, [&]<class L>(L, std::int64_t n) {
      L::store(retention + n, L::load(retention + n) * (1 - free_gates[r] * L::load(reading + n)));
    });
  }
}

/// The words by ascending usage, ties by index, NaN last.
template <class T>
void sort_by_usage(const T* usage, std::int64_t words, std::int32_t* order) {
  constexpr T infinity = std::numeric_limits<T>::infinity();
  std::iota(order, order + words, 0);
  std::sort(order, order + words, [&](std::int32_t a, std::int32_t b) {
    const T x = usage[a] < infinity ? usage[a] : infinity;
    const T y = usage[b] < infinity ? usage[b] : infinity;
    return x < y || (x == y && a < b);
  });
}

/// allocation[phi_j] = (1 - usage[phi_j]) before[j],  before[j] = prod_{i<j} usage[phi_i].
template <class T>
void allocate(const T* usage, const std::int32_t* order, std::int64_t words, T* before,
              T* allocation) {
  T product = 1;
  for (std::int64_t j = 0; j < words; ++j) {
    const T used = usage[order[j]];
    before[j] = product;
    allocation[order[j]] = (1 - used) * product;
    product *= used;
  }
}

}  // namespace refrain::kernels::cpu
