/// One kernel table per backend: the CPU's is filled in kernels/cpu_table.cpp, CUDA's here.

#include "kernels/cpu_levels.hpp"
#include "kernels/cuda.hpp"
#include "refrain/kernels/table.hpp"

namespace refrain::kernels {

#if defined(REFRAIN_HAS_CUDA)
namespace {

template <class Args>
constexpr Entry<Args> on_cuda(void (*run)(const Args&, Stream), std::size_t (*workspace_bytes)(const Args&) = nullptr) {
  return {run, workspace_bytes, Device::cuda};
}

constexpr Table cuda_table{
    .matmul = on_cuda(cuda::matmul, cuda::matmul_workspace),
    .pack_weights = on_cuda(cuda::pack_weights),
    .packed_matmul = on_cuda(cuda::packed_matmul, cuda::packed_matmul_workspace),
    .add_outer_products = on_cuda(cuda::add_outer_products, cuda::add_outer_products_workspace),
    .swap_axes = on_cuda(cuda::swap_axes),
    .add_spans = on_cuda(cuda::add_spans),
    .sum_spans = on_cuda(cuda::sum_spans),
    .layer_norm_forward = on_cuda(cuda::layer_norm_forward),
    .layer_norm_backward = on_cuda(cuda::layer_norm_backward, cuda::layer_norm_backward_workspace),
    .gather_rows = on_cuda(cuda::gather_rows),
    .add_rows = on_cuda(cuda::add_rows),
    .select_step = on_cuda(cuda::select_step),
    .select_step_backward = on_cuda(cuda::select_step_backward),
    .replace_rows = on_cuda(cuda::replace_rows),
    .replace_rows_backward = on_cuda(cuda::replace_rows_backward, cuda::replace_rows_backward_workspace),
    .sum_rows = on_cuda(cuda::sum_rows, cuda::sum_rows_workspace),
    .unary_forward = on_cuda(cuda::unary_forward),
    .unary_backward = on_cuda(cuda::unary_backward),
    .linear_combination = on_cuda(cuda::linear_combination),
    .multiply = on_cuda(cuda::multiply),
    .dot = on_cuda(cuda::dot, cuda::dot_workspace),
    .dropout = on_cuda(cuda::dropout),
    .packed_bytes = cuda::packed_bytes,
};

}  // namespace
#endif

const Table& table(Device device) {
  if (device == Device::cpu) return cpu::best_table();
#if defined(REFRAIN_HAS_CUDA)
  return cuda_table;
#else
  throw Unsupported("Device::cuda: this build has no CUDA backend (configure with REFRAIN_CUDA=ON)");
#endif
}

}  // namespace refrain::kernels
