/// One kernel table per backend: the CPU's is filled in kernels/cpu_table.cpp, CUDA's here.

#include "kernels/cpu_levels.hpp"
#include "kernels/cuda.hpp"
#include "kernels/cudnn/cudnn.hpp"
#include "refrain/kernels/table.hpp"

namespace refrain::kernels {
namespace {

#if defined(REFRAIN_HAS_CUDA)
template <class Args>
constexpr Entry<Args> on_cuda(void (*run)(const Args&, Stream),
                              std::size_t (*workspace_bytes)(const Args&) = nullptr) {
  return {run, workspace_bytes, Device::cuda};
}

constexpr Table cuda_table{
    .causal_conv_forward = on_cuda(cuda::causal_conv_forward, cuda::causal_conv_forward_workspace),
    .causal_conv_backward =
        on_cuda(cuda::causal_conv_backward, cuda::causal_conv_backward_workspace),
    .conv_norm_forward = on_cuda(cuda::conv_norm_forward, cuda::conv_norm_forward_workspace),
    .conv_norm_backward = on_cuda(cuda::conv_norm_backward, cuda::conv_norm_backward_workspace),
    .patch_forward = on_cuda(cuda::patch_forward, cuda::patch_forward_workspace),
    .patch_backward = on_cuda(cuda::patch_backward, cuda::patch_backward_workspace),
    .matmul = on_cuda(cuda::matmul, cuda::matmul_workspace),
    .pack_weights = on_cuda(cuda::pack_weights),
    .packed_matmul = on_cuda(cuda::packed_matmul, cuda::packed_matmul_workspace),
    .add_outer_products = on_cuda(cuda::add_outer_products, cuda::add_outer_products_workspace),
    .lstm_forward = on_cuda(cuda::lstm_forward),
    .lstm_backward = on_cuda(cuda::lstm_backward, cuda::lstm_backward_workspace),
    .gru_forward = on_cuda(cuda::gru_forward, cuda::gru_forward_workspace),
    .gru_backward = on_cuda(cuda::gru_backward, cuda::gru_backward_workspace),
    .memory_step_forward = on_cuda(cuda::memory_step_forward, cuda::memory_step_forward_workspace),
    .memory_step_backward =
        on_cuda(cuda::memory_step_backward, cuda::memory_step_backward_workspace),
    .chunk_attention_forward = on_cuda(cuda::chunk_attention_forward),
    .chunk_attention_backward =
        on_cuda(cuda::chunk_attention_backward, cuda::chunk_attention_backward_workspace),
    .swap_axes = on_cuda(cuda::swap_axes),
    .add_spans = on_cuda(cuda::add_spans),
    .sum_spans = on_cuda(cuda::sum_spans),
    .layer_norm_forward = on_cuda(cuda::layer_norm_forward),
    .layer_norm_backward = on_cuda(cuda::layer_norm_backward, cuda::layer_norm_backward_workspace),
    .gather_rows = on_cuda(cuda::gather_rows),
    .coalesce_rows = on_cuda(cuda::coalesce_rows, cuda::coalesce_rows_workspace),
    .add_rows = on_cuda(cuda::add_rows),
    .select_step = on_cuda(cuda::select_step),
    .select_step_backward = on_cuda(cuda::select_step_backward),
    .replace_rows = on_cuda(cuda::replace_rows),
    .replace_rows_backward =
        on_cuda(cuda::replace_rows_backward, cuda::replace_rows_backward_workspace),
    .sum_rows = on_cuda(cuda::sum_rows, cuda::sum_rows_workspace),
    .top_k = on_cuda(cuda::top_k, cuda::top_k_workspace),
    .unary_forward = on_cuda(cuda::unary_forward),
    .unary_backward = on_cuda(cuda::unary_backward),
    .linear_combination = on_cuda(cuda::linear_combination),
    .multiply = on_cuda(cuda::multiply),
    .dot = on_cuda(cuda::dot, cuda::dot_workspace),
    .dropout = on_cuda(cuda::dropout),
    .softmax_loss = on_cuda(cuda::softmax_loss, cuda::softmax_loss_workspace),
    .sampled_softmax_loss =
        on_cuda(cuda::sampled_softmax_loss, cuda::sampled_softmax_loss_workspace),
    .pair_loss = on_cuda(cuda::pair_loss, cuda::pair_loss_workspace),
    .adam = on_cuda(cuda::adam),
    .adam_rows = on_cuda(cuda::adam_rows),
    .adam_many = on_cuda(cuda::adam_many),
    .sgd = on_cuda(cuda::sgd),
    .sgd_rows = on_cuda(cuda::sgd_rows),
    .clip_factor = on_cuda(cuda::clip_factor),
    .packed_bytes = cuda::packed_bytes,
};
#endif

// Beside the table, not in it: for tests and benchmarks.
constexpr cudnn::Entries cudnn_entries {
#if defined(REFRAIN_HAS_CUDNN)
  .causal_conv_forward = on_cuda(cudnn::causal_conv_forward, cudnn::causal_conv_forward_workspace),
  .causal_conv_backward =
      on_cuda(cudnn::causal_conv_backward, cudnn::causal_conv_backward_workspace),
  .lstm_forward = on_cuda(cudnn::lstm_forward, cudnn::lstm_forward_workspace),
  .lstm_backward = on_cuda(cudnn::lstm_backward, cudnn::lstm_backward_workspace),
  .lstm_layer = on_cuda(cudnn::lstm_layer, cudnn::lstm_layer_workspace),
  .lstm_layer_backward = on_cuda(cudnn::lstm_layer_backward, cudnn::lstm_layer_backward_workspace),
  .lstm_reserve_bytes = cudnn::lstm_reserve_bytes, .forward_plan_bytes = cudnn::forward_plan_bytes,
  .backward_plan_bytes = cudnn::backward_plan_bytes,
#endif
};

}  // namespace

const cudnn::Entries& cudnn::entries() { return cudnn_entries; }

const Table& table(Device device) {
  if (device == Device::cpu) return cpu::best_table();
#if defined(REFRAIN_HAS_CUDA)
  return cuda_table;
#else
  throw Unsupported(
      "Device::cuda: this build has no CUDA backend (configure with REFRAIN_CUDA=ON)");
#endif
}

}  // namespace refrain::kernels
