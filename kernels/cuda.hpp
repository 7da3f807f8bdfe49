#pragma once
/// What the CUDA kernels of all families share: their declarations (as dispatch.cpp and the other
/// families see them) and the choice of element type. No toolkit header is needed to read this.

#include <cstddef>

#include "kernels/backend.hpp"
#include "refrain/core/device.hpp"
#include "refrain/core/error.hpp"
#include "refrain/kernels/causal_conv.hpp"
#include "refrain/kernels/chunk_attention.hpp"
#include "refrain/kernels/conv_norm.hpp"
#include "refrain/kernels/gather.hpp"
#include "refrain/kernels/layer_norm.hpp"
#include "refrain/kernels/loss.hpp"
#include "refrain/kernels/matmul.hpp"
#include "refrain/kernels/memory.hpp"
#include "refrain/kernels/optimizer.hpp"
#include "refrain/kernels/patch.hpp"
#include "refrain/kernels/pointwise.hpp"
#include "refrain/kernels/recurrent.hpp"
#include "refrain/kernels/replace_rows.hpp"
#include "refrain/kernels/steps.hpp"
#include "refrain/kernels/sum_rows.hpp"
#include "refrain/kernels/top_k.hpp"

namespace refrain::kernels::cuda {

/// Throws DTypeError unless the element type is f32 or f64.
template <class Args>
void check_floating(DType dtype) {
  if (!is_floating(dtype))
    throw DTypeError(concat(Args::name, ": expected f32 or f64, got ", dtype));
}

/// Calls function(float{}) or function(double{}); throws DTypeError for an element type that `Args`
/// has no kernel for.
template <class Args, class Function>
void for_floating(DType dtype, Function&& function) {
  switch (dtype) {
    case DType::f32:
      return function(float{});
    case DType::f64:
      return function(double{});
    default:
      throw DTypeError(concat(Args::name, ": expected f32 or f64, got ", dtype));
  }
}

// matmul: products of cuBLASLt
void matmul(const Matmul& args, Stream stream);
std::size_t matmul_workspace(const Matmul& args);
void pack_weights(const PackWeights& args, Stream stream);
std::size_t packed_bytes(std::int64_t rows, std::int64_t columns, DType dtype);
void packed_matmul(const PackedMatmul& args, Stream stream);
std::size_t packed_matmul_workspace(const PackedMatmul& args);
void add_outer_products(const AddOuterProducts& args, Stream stream);
std::size_t add_outer_products_workspace(const AddOuterProducts& args);

// Entries that launch kernels of ours: also compiled for the tests' emulation, which has an inline
// namespace of its own.
inline namespace REFRAIN_SIMT_BACKEND {

// causal_conv
void causal_conv_forward(const CausalConvForward& args, Stream stream);
std::size_t causal_conv_forward_workspace(const CausalConvForward& args);
void causal_conv_backward(const CausalConvBackward& args, Stream stream);
std::size_t causal_conv_backward_workspace(const CausalConvBackward& args);
void conv_norm_forward(const ConvNormForward& args, Stream stream);
std::size_t conv_norm_forward_workspace(const ConvNormForward& args);
void conv_norm_backward(const ConvNormBackward& args, Stream stream);
std::size_t conv_norm_backward_workspace(const ConvNormBackward& args);
/// The convolution by tiles, whatever the channels, with something added: y = conv(x) + added;
/// added [B,T,Cout] may be y, or empty. Needs no workspace.
void convolve(const CausalConvForward& args, const View& added, Stream stream);

// patch
void patch_forward(const PatchForward& args, Stream stream);
std::size_t patch_forward_workspace(const PatchForward& args);
void patch_backward(const PatchBackward& args, Stream stream);
std::size_t patch_backward_workspace(const PatchBackward& args);
/// y = base + gelu(x down + down_bias) up + up_bias for rows of any width, in several launches;
/// base may be x or y, y may be x.
void add_patch(const PatchForward& args, const View& base, Stream stream);
std::size_t add_patch_workspace(std::int64_t rows, const PatchViews& patch);

// recurrent
void lstm_forward(const LstmForward& args, Stream stream);
void lstm_backward(const LstmBackward& args, Stream stream);
std::size_t lstm_backward_workspace(const LstmBackward& args);
void gru_forward(const GruForward& args, Stream stream);
std::size_t gru_forward_workspace(const GruForward& args);
void gru_backward(const GruBackward& args, Stream stream);
std::size_t gru_backward_workspace(const GruBackward& args);

// memory
void memory_step_forward(const MemoryStepForward& args, Stream stream);
std::size_t memory_step_forward_workspace(const MemoryStepForward& args);
void memory_step_backward(const MemoryStepBackward& args, Stream stream);
std::size_t memory_step_backward_workspace(const MemoryStepBackward& args);
void chunk_attention_forward(const ChunkAttentionForward& args, Stream stream);
void chunk_attention_backward(const ChunkAttentionBackward& args, Stream stream);
std::size_t chunk_attention_backward_workspace(const ChunkAttentionBackward& args);

// steps
void swap_axes(const SwapAxes& args, Stream stream);
void add_spans(const AddSpans& args, Stream stream);
void sum_spans(const SumSpans& args, Stream stream);

// rows
void layer_norm_forward(const LayerNormForward& args, Stream stream);
void layer_norm_backward(const LayerNormBackward& args, Stream stream);
std::size_t layer_norm_backward_workspace(const LayerNormBackward& args);
void gather_rows(const GatherRows& args, Stream stream);
void coalesce_rows(const CoalesceRows& args, Stream stream);
std::size_t coalesce_rows_workspace(const CoalesceRows& args);
void add_rows(const AddRows& args, Stream stream);
void select_step(const SelectStep& args, Stream stream);
void select_step_backward(const SelectStepBackward& args, Stream stream);
void replace_rows(const ReplaceRows& args, Stream stream);
void replace_rows_backward(const ReplaceRowsBackward& args, Stream stream);
std::size_t replace_rows_backward_workspace(const ReplaceRowsBackward& args);
void sum_rows(const SumRows& args, Stream stream);
std::size_t sum_rows_workspace(const SumRows& args);
void top_k(const TopK& args, Stream stream);
std::size_t top_k_workspace(const TopK& args);
void pair_loss(const PairLoss& args, Stream stream);
std::size_t pair_loss_workspace(const PairLoss& args);
void softmax_loss(const SoftmaxLoss& args, Stream stream);
std::size_t softmax_loss_workspace(const SoftmaxLoss& args);
void sampled_softmax_loss(const SampledSoftmaxLoss& args, Stream stream);
std::size_t sampled_softmax_loss_workspace(const SampledSoftmaxLoss& args);

// pointwise
void unary_forward(const UnaryForward& args, Stream stream);
void unary_backward(const UnaryBackward& args, Stream stream);
void linear_combination(const LinearCombination& args, Stream stream);
void multiply(const Multiply& args, Stream stream);
void dot(const Dot& args, Stream stream);
std::size_t dot_workspace(const Dot& args);
void dropout(const Dropout& args, Stream stream);

// optimizer
void adam(const Adam& args, Stream stream);
void adam_rows(const AdamRows& args, Stream stream);
void adam_many(const AdamMany& args, Stream stream);
void sgd(const Sgd& args, Stream stream);
void sgd_rows(const SgdRows& args, Stream stream);
void clip_factor(const ClipFactor& args, Stream stream);

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
