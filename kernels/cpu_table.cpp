/// Fills the CPU kernels' table.  This file reads as the CPU's column of the support matrix.

#include "kernels/cpu.hpp"
#include "kernels/cpu_levels.hpp"

namespace refrain::kernels::cpu {

// A constant: nothing of a level may run before it is known that the CPU can run it.
constinit const Table REFRAIN_ISA::table{
    .causal_conv_forward = {cpu::causal_conv_forward, cpu::causal_conv_forward_workspace},
    .causal_conv_backward = {cpu::causal_conv_backward, cpu::causal_conv_backward_workspace},
    .conv_norm_forward = {cpu::conv_norm_forward, cpu::conv_norm_forward_workspace},
    .conv_norm_backward = {cpu::conv_norm_backward, cpu::conv_norm_backward_workspace},
    .conv_norm_at_steps = {cpu::conv_norm_at_steps, cpu::conv_norm_at_steps_workspace},
    .conv_norm_at_steps_backward = {cpu::conv_norm_at_steps_backward, cpu::conv_norm_at_steps_backward_workspace},
    .adapter_forward = {cpu::adapter_forward, cpu::adapter_forward_workspace},
    .adapter_backward = {cpu::adapter_backward, cpu::adapter_backward_workspace},
    .matmul = {cpu::matmul, cpu::matmul_workspace},
    .pack_weights = {cpu::pack_weights},
    .packed_matmul = {cpu::packed_matmul},
    .add_outer_products = {cpu::add_outer_products},
    .lstm_forward = {cpu::lstm_forward, cpu::lstm_forward_workspace},
    .lstm_backward = {cpu::lstm_backward, cpu::lstm_backward_workspace},
    .gru_forward = {cpu::gru_forward, cpu::gru_forward_workspace},
    .gru_backward = {cpu::gru_backward, cpu::gru_backward_workspace},
    .memory_step_forward = {cpu::memory_step_forward, cpu::memory_step_forward_workspace},
    .memory_step_backward = {cpu::memory_step_backward, cpu::memory_step_backward_workspace},
    .chunk_attention_forward = {cpu::chunk_attention_forward, cpu::chunk_attention_forward_workspace},
    .chunk_attention_backward = {cpu::chunk_attention_backward, cpu::chunk_attention_backward_workspace},
    .swap_axes = {cpu::swap_axes},
    .add_spans = {cpu::add_spans},
    .sum_spans = {cpu::sum_spans},
    .layer_norm_forward = {cpu::layer_norm_forward},
    .layer_norm_backward = {cpu::layer_norm_backward, cpu::layer_norm_backward_workspace},
    .gather_rows = {cpu::gather_rows},
    .coalesce_rows = {cpu::coalesce_rows, cpu::coalesce_rows_workspace},
    .add_rows = {cpu::add_rows},
    .select_step = {cpu::select_step},
    .select_step_backward = {cpu::select_step_backward},
    .replace_rows = {cpu::replace_rows},
    .replace_rows_backward = {cpu::replace_rows_backward},
    .sum_rows = {cpu::sum_rows, cpu::sum_rows_workspace},
    .top_k = {cpu::top_k, cpu::top_k_workspace},
    .unary_forward = {cpu::unary_forward},
    .unary_backward = {cpu::unary_backward},
    .linear_combination = {cpu::linear_combination},
    .multiply = {cpu::multiply},
    .dot = {cpu::dot, cpu::dot_workspace},
    .dropout = {cpu::dropout},
    .softmax_loss = {cpu::softmax_loss, cpu::softmax_loss_workspace},
    .sampled_softmax_loss = {cpu::sampled_softmax_loss, cpu::sampled_softmax_loss_workspace},
    .pair_loss = {cpu::pair_loss, cpu::pair_loss_workspace},
    .adam = {cpu::adam},
    .adam_rows = {cpu::adam_rows},
    .adam_many = {cpu::adam_many},
    .sgd = {cpu::sgd},
    .sgd_rows = {cpu::sgd_rows},
    .clip_factor = {cpu::clip_factor},
    .packed_bytes = cpu::packed_bytes,
};

}  // namespace refrain::kernels::cpu
