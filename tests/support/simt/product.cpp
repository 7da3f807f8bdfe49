/// kernels/matmul/product.hpp without cuBLASLt: loops with sums in double.

#include "kernels/matmul/product.hpp"
#include "refrain/core/dtype.hpp"
#include "refrain/core/error.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {
namespace {

template <class T>
void multiply_as(const Product& p) {
  const std::int64_t a_stride = p.a_stride > 0 ? p.a_stride : p.transpose_a ? p.rows : p.depth;
  const std::int64_t b_stride = p.b_stride > 0 ? p.b_stride : p.transpose_b ? p.depth : p.columns;
  const std::int64_t c_stride = p.c_stride > 0 ? p.c_stride : p.columns;
  for (std::int64_t i = 0; i < p.batch; ++i) {
    const T* const a = static_cast<const T*>(p.a) + i * p.a_step;
    const T* const b = static_cast<const T*>(p.b) + i * p.b_step;
    T* const c = static_cast<T*>(p.c) + i * p.c_step;
    const T* const added =
        p.added == nullptr ? nullptr : static_cast<const T*>(p.added) + i * p.c_step;
    for (std::int64_t m = 0; m < p.rows; ++m) {
      for (std::int64_t n = 0; n < p.columns; ++n) {
        double sum = added == nullptr ? 0 : static_cast<double>(added[m * c_stride + n]);
        if (p.bias != nullptr) sum += static_cast<double>(static_cast<const T*>(p.bias)[n]);
        for (std::int64_t k = 0; k < p.depth; ++k) {
          sum += static_cast<double>(p.transpose_a ? a[k * a_stride + m] : a[m * a_stride + k]) *
                 static_cast<double>(p.transpose_b ? b[n * b_stride + k] : b[k * b_stride + n]);
        }
        c[m * c_stride + n] = static_cast<T>(sum);
      }
    }
  }
}

}  // namespace

std::size_t product_workspace() { return 256; }

void multiply_matrices(const Product& product) {
  if (product.bias != nullptr && product.added != nullptr)
    throw OptionError("multiply_matrices: expected a bias or an added matrix, got both");
  if (reinterpret_cast<std::uintptr_t>(product.workspace.data) % product_workspace_alignment != 0) {
    throw OptionError(
        "multiply_matrices: expected a workspace aligned to product_workspace_alignment");
  }
  product.dtype == DType::f64 ? multiply_as<double>(product) : multiply_as<float>(product);
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
