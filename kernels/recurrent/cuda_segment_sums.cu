// Sums over the time steps of a recurrent segment on the GPU. Device: f32, f64.
//   dweight[m,n] (+)= sum_{l,b} da_l[b,m] h_{l-1}[b,n]     da [L,B,gates H], h [L,B,H]
//   dshared[b,m]  =  sum_l da_l[b,m],   dbias[m] (+)= sum_{l,b} da_l[b,m]
// dweight is one sum of outer products over all L B rows (matmul/outer_products.cuh): the rows of
// h_{l-1} are those of h0 and then those of h, read in place. dshared and dbias are sums along
// columns (tiling/column_sums.cuh). FLOPs: 2 L B gates H^2 for dweight. Memory traffic: da and h
// once per 64 columns of the other. dweight is bound by arithmetic, dshared and dbias by memory
// bandwidth.

#include "kernels/matmul/outer_products.cuh"
#include "kernels/recurrent/segment_sums.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {
namespace {

template <class T>
struct RowsOfGates {
  const T* da;
  std::int64_t stride;
  __device__ __forceinline__ const T* operator()(std::int64_t, std::int64_t p) const {
    return da + p * stride;
  }
};

/// Row p = l B + b of h_{l-1}.
template <class T>
struct RowsBefore {
  const T* h0;
  const T* h;
  std::int64_t batch;
  std::int64_t hidden;
  __device__ __forceinline__ const T* operator()(std::int64_t, std::int64_t p) const {
    return p < batch ? h0 + p * hidden : h + (p - batch) * hidden;
  }
};

}  // namespace

template <class T>
void sum_recurrent_gradient(const char* name, const RecurrentGradient<T>& gradient, bool add,
                            T* dweight, T* parts) {
  constexpr int n = simt::Pack<T>::count;
  const OuterProducts<T, RowsOfGates<T>, RowsBefore<T>> products{
      .a = {gradient.da, gradient.stride},
      .b = {gradient.h0, gradient.h, gradient.batch, gradient.hidden},
      .count = gradient.steps * gradient.batch,
      .inner = gradient.inner,
      .columns = gradient.hidden,
      .aligned = gradient.stride % n == 0 && gradient.inner % n == 0 && gradient.hidden % n == 0 &&
                 simt::aligned_16(gradient.da, gradient.h0, gradient.h)};
  sum_of_outer_products(name, products, add, dweight, parts);
}

std::int64_t recurrent_gradient_parts(std::int64_t steps, std::int64_t batch, std::int64_t inner,
                                      std::int64_t hidden) {
  return outer_parts(steps * batch, inner, hidden);
}

template <class T>
void sum_of_rows(const char* name, const T* x, std::int64_t rows, std::int64_t width, bool add,
                 T* out, T* parts) {
  const PartTerms<T> terms{.parts = x, .kept = out, .count = rows, .width = width};
  sum_columns(name, terms, rows + (add ? 1 : 0), width,
              ColumnTargets<T, 1>{.to = {out}, .stride = 0}, parts);
}

std::int64_t row_sum_parts(std::int64_t rows, std::int64_t width) {
  // The maximum of the sizes without and with `add`; either may be the larger one.
  return std::max(column_parts(rows, width, 1), column_parts(rows + 1, width, 1));
}

template void sum_recurrent_gradient(const char*, const RecurrentGradient<float>&, bool, float*,
                                     float*);
template void sum_recurrent_gradient(const char*, const RecurrentGradient<double>&, bool, double*,
                                     double*);
template void sum_of_rows(const char*, const float*, std::int64_t, std::int64_t, bool, float*,
                          float*);
template void sum_of_rows(const char*, const double*, std::int64_t, std::int64_t, bool, double*,
                          double*);

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
