#pragma once
/// Runs a kernel on the device of its arguments.

#include "refrain/kernels/table.hpp"

namespace refrain::kernels {

namespace detail {
inline const Entry<CausalConvForward>& entry_of(const CausalConvForward& args) {
  return table(args.y.device).causal_conv_forward;
}
inline const Entry<CausalConvBackward>& entry_of(const CausalConvBackward& args) {
  return table(args.dy.device).causal_conv_backward;
}
inline const Entry<ConvNormForward>& entry_of(const ConvNormForward& args) {
  return table(args.y.device).conv_norm_forward;
}
inline const Entry<ConvNormBackward>& entry_of(const ConvNormBackward& args) {
  return table(args.dy.device).conv_norm_backward;
}
inline const Entry<ConvNormAtSteps>& entry_of(const ConvNormAtSteps& args) {
  return table(args.y.device).conv_norm_at_steps;
}
inline const Entry<ConvNormAtStepsBackward>& entry_of(const ConvNormAtStepsBackward& args) {
  return table(args.dy.device).conv_norm_at_steps_backward;
}
inline const Entry<PatchForward>& entry_of(const PatchForward& args) {
  return table(args.y.device).patch_forward;
}
inline const Entry<PatchBackward>& entry_of(const PatchBackward& args) {
  return table(args.dy.device).patch_backward;
}
inline const Entry<Matmul>& entry_of(const Matmul& args) { return table(args.c.device).matmul; }
inline const Entry<PackWeights>& entry_of(const PackWeights& args) {
  return table(args.b.device).pack_weights;
}
inline const Entry<PackedMatmul>& entry_of(const PackedMatmul& args) {
  return table(args.c.device).packed_matmul;
}
inline const Entry<AddOuterProducts>& entry_of(const AddOuterProducts& args) {
  return table(args.c.device).add_outer_products;
}
inline const Entry<LstmForward>& entry_of(const LstmForward& args) {
  return table(args.h.device).lstm_forward;
}
inline const Entry<LstmBackward>& entry_of(const LstmBackward& args) {
  return table(args.h0.device).lstm_backward;
}
inline const Entry<GruForward>& entry_of(const GruForward& args) {
  return table(args.h.device).gru_forward;
}
inline const Entry<GruBackward>& entry_of(const GruBackward& args) {
  return table(args.h0.device).gru_backward;
}
inline const Entry<MemoryStepForward>& entry_of(const MemoryStepForward& args) {
  return table(args.interface.device).memory_step_forward;
}
inline const Entry<MemoryStepBackward>& entry_of(const MemoryStepBackward& args) {
  return table(args.interface.device).memory_step_backward;
}
inline const Entry<ChunkAttentionForward>& entry_of(const ChunkAttentionForward& args) {
  return table(args.out.device).chunk_attention_forward;
}
inline const Entry<ChunkAttentionBackward>& entry_of(const ChunkAttentionBackward& args) {
  return table(args.dout.device).chunk_attention_backward;
}
inline const Entry<SwapAxes>& entry_of(const SwapAxes& args) {
  return table(args.y.device).swap_axes;
}
inline const Entry<AddSpans>& entry_of(const AddSpans& args) {
  return table(args.y.device).add_spans;
}
inline const Entry<SumSpans>& entry_of(const SumSpans& args) {
  return table(args.dy.device).sum_spans;
}
inline const Entry<LayerNormForward>& entry_of(const LayerNormForward& args) {
  return table(args.y.device).layer_norm_forward;
}
inline const Entry<LayerNormBackward>& entry_of(const LayerNormBackward& args) {
  return table(args.dy.device).layer_norm_backward;
}
inline const Entry<GatherRows>& entry_of(const GatherRows& args) {
  return table(args.out.device).gather_rows;
}
inline const Entry<CoalesceRows>& entry_of(const CoalesceRows& args) {
  return table(args.ids.device).coalesce_rows;
}
inline const Entry<AddRows>& entry_of(const AddRows& args) {
  return table(args.to.device).add_rows;
}
inline const Entry<SelectStep>& entry_of(const SelectStep& args) {
  return table(args.y.device).select_step;
}
inline const Entry<SelectStepBackward>& entry_of(const SelectStepBackward& args) {
  return table(args.dy.device).select_step_backward;
}
inline const Entry<ReplaceRows>& entry_of(const ReplaceRows& args) {
  return table(args.y.device).replace_rows;
}
inline const Entry<ReplaceRowsBackward>& entry_of(const ReplaceRowsBackward& args) {
  return table(args.dy.device).replace_rows_backward;
}
inline const Entry<SumRows>& entry_of(const SumRows& args) {
  return table(args.out.device).sum_rows;
}
inline const Entry<TopK>& entry_of(const TopK& args) { return table(args.values.device).top_k; }
inline const Entry<UnaryForward>& entry_of(const UnaryForward& args) {
  return table(args.y.device).unary_forward;
}
inline const Entry<UnaryBackward>& entry_of(const UnaryBackward& args) {
  return table(args.dx.device).unary_backward;
}
inline const Entry<LinearCombination>& entry_of(const LinearCombination& args) {
  return table(args.out.device).linear_combination;
}
inline const Entry<Multiply>& entry_of(const Multiply& args) {
  return table(args.out.device).multiply;
}
inline const Entry<Dot>& entry_of(const Dot& args) { return table(args.out.device).dot; }
inline const Entry<Dropout>& entry_of(const Dropout& args) { return table(args.y.device).dropout; }
inline const Entry<SoftmaxLoss>& entry_of(const SoftmaxLoss& args) {
  return table(args.loss.device).softmax_loss;
}
inline const Entry<SampledSoftmaxLoss>& entry_of(const SampledSoftmaxLoss& args) {
  return table(args.loss.device).sampled_softmax_loss;
}
inline const Entry<PairLoss>& entry_of(const PairLoss& args) {
  return table(args.loss.device).pair_loss;
}
inline const Entry<Adam>& entry_of(const Adam& args) { return table(args.parameter.device).adam; }
inline const Entry<AdamRows>& entry_of(const AdamRows& args) {
  return table(args.parameter.device).adam_rows;
}
inline const Entry<Sgd>& entry_of(const Sgd& args) { return table(args.parameter.device).sgd; }
inline const Entry<SgdRows>& entry_of(const SgdRows& args) {
  return table(args.parameter.device).sgd_rows;
}
inline const Entry<ClipFactor>& entry_of(const ClipFactor& args) {
  return table(args.norm.device).clip_factor;
}
inline const Entry<AdamMany>& entry_of(const AdamMany& args) {
  return table(args.dense.empty() ? args.sparse.front().parameter.device
                                  : args.dense.front().parameter.device)
      .adam_many;
}
}  // namespace detail

/// Runs the kernel of a contract on the device of its views, with scratch memory from that device's
/// pool:
///
///   kernels::run(kernels::Multiply{.a = a.view(), .b = b.view(), .out = out.mutable_view()});
///
/// Throws Unsupported when the device has no such kernel, or this build has no backend for the
/// device.
template <class Args>
void run(const Args& args) {
  detail::entry_of(args)(args);
}

}  // namespace refrain::kernels
