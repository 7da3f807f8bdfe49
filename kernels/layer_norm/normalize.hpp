#pragma once
/// The arithmetic of layer normalization on one row, shared by all kernels that normalize rows:
///
///   normalized = (x - mean) * inv_std,   inv_std = 1 / sqrt(var + epsilon), var of the centred row
///   dx = inv_std * (g - mean(g) - normalized * mean(g * normalized)),   g = d normalized

#include <cmath>
#include <cstdint>

#include "kernels/simd.hpp"

namespace refrain::kernels::cpu {

template <class T>
struct RowMoments {
  RowMoments(const T* x, std::int64_t width, T epsilon) {
    const T count = static_cast<T>(width);
    mean = sum_lanes<T>(width, [&]<class L>(L, std::int64_t c) { return L::load(x + c); }) / count;
    const T squares = sum_lanes<T>(width, [&]<class L>(L, std::int64_t c) {
      const auto centred = L::load(x + c) - mean;
      return centred * centred;
    });
    inv_std = T{1} / std::sqrt(squares / count + epsilon);
  }

  /// Normalizes a vector of the row, or one element.
  template <class V>
  V normalized(V x) const {
    return (x - mean) * inv_std;
  }

  T mean;
  T inv_std;
};

/// Writes dx of one row, which may be in place of g. first(L, c) and again(L, c) both return g at
/// c; `first` is called once for each element, before `again` is called.
template <class T, class First, class Again>
void normalize_backward(const T* normalized, T inv_std, std::int64_t width, const First& first,
                        const Again& again, T* dx) {
  const T count = static_cast<T>(width);
  const T mean =
      sum_lanes<T>(width, [&]<class L>(L lanes, std::int64_t c) { return first(lanes, c); }) /
      count;
  const T along = sum_lanes<T>(width,
                               [&]<class L>(L lanes, std::int64_t c) {
                                 return again(lanes, c) * L::load(normalized + c);
                               }) /
                  count;
  for_lanes<T>(width, [&]<class L>(L lanes, std::int64_t c) {
    L::store(dx + c, inv_std * (again(lanes, c) - mean - L::load(normalized + c) * along));
  });
}

}  // namespace refrain::kernels::cpu
