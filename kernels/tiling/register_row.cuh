#pragma once
/// A row of a tensor in the registers of a warp.

#include <cstdint>

#include "kernels/simt.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

/// A row in the registers of a warp: lane l holds its elements n (32 i + l) .. + n, i < items;
/// zeros past its end.
template <class T, int n, int items>
struct WarpRow {
  T at[items][n];

  __device__ __forceinline__ static std::int64_t column(int i) {
    return static_cast<std::int64_t>(n) * (32 * i + simt::lane());
  }

  __device__ __forceinline__ void load(const T* row, std::int64_t width) {
    REFRAIN_UNROLL
    for (int i = 0; i < items; ++i) {
      if (column(i) < width) {
        simt::load_group(row + column(i), at[i]);
      } else {
        REFRAIN_UNROLL
        for (int j = 0; j < n; ++j) at[i][j] = 0;
      }
    }
  }

  __device__ __forceinline__ void store(T* row, std::int64_t width) const {
    REFRAIN_UNROLL
    for (int i = 0; i < items; ++i) {
      if (column(i) < width) simt::store_group(row + column(i), at[i]);
    }
  }

  /// Replaces element (i, j) by function(i, j, element).
  template <class Function>
  __device__ __forceinline__ void map(const Function& function) {
    REFRAIN_UNROLL
    for (int i = 0; i < items; ++i) {
      REFRAIN_UNROLL
      for (int j = 0; j < n; ++j) at[i][j] = function(i, j, at[i][j]);
    }
  }
  __device__ __forceinline__ void add(const WarpRow& other) {
    map([&](int i, int j, T value) { return value + other.at[i][j]; });
  }
};

/// Calls visit.template operator()<n, items>() with the smallest register row of at most
/// `max_items` groups per lane that holds `width` elements; returns false without a call when
/// there is no such row.
template <class T, int max_items, class Visit>
bool for_register_row(std::int64_t width, bool aligned, Visit&& visit) {
  constexpr int pack = simt::Pack<T>::count;
  const auto pick = [&]<int n>() {
    const auto fits = [&]<int items>() {
      if (width > 32 * n * items) return false;
      visit.template operator()<n, items>();
      return true;
    };
    if (fits.template operator()<1>() || fits.template operator()<2>() ||
        fits.template operator()<4>())
      return true;
    if constexpr (max_items >= 8) return fits.template operator()<8>();
    return false;
  };
  return aligned && width % pack == 0 ? pick.template operator()<pack>()
                                      : pick.template operator()<1>();
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
