#pragma once
/// The one dispatch point: a table of kernel entries per device.

#include <cstddef>

#include "refrain/core/error.hpp"
#include "refrain/core/export.hpp"
#include "refrain/core/stream.hpp"
#include "refrain/core/tensor.hpp"
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

namespace refrain::kernels {

/// One kernel: how to run it, and how much scratch memory its arguments need (null: none).
template <class Args>
struct Entry {
  void (*run)(const Args& args, Stream stream) = nullptr;
  std::size_t (*workspace_bytes)(const Args& args) = nullptr;

  explicit operator bool() const noexcept { return run != nullptr; }

  /// Runs the kernel with scratch memory from the device's pool. Throws Unsupported when the table
  /// has no such kernel.
  void operator()(Args args) const {
    if (run == nullptr)
      throw Unsupported(concat(Args::name, ": ", device,
                               " has no such kernel; docs/kernels.md lists what there is"));
    const ProfileRange range(device, Args::name);
    Tensor workspace;
    if (workspace_bytes != nullptr) {
      workspace =
          Tensor({static_cast<std::int64_t>((workspace_bytes(args) + 7) / 8)}, DType::f64, device);
      args.workspace = workspace.mutable_view();
    }
    run(args, Stream{});
  }

  Device device = Device::cpu;
};

/// Every kernel entry of one device.  An entry left empty throws Unsupported when called.
struct Table {
  Entry<CausalConvForward> causal_conv_forward{};
  Entry<CausalConvBackward> causal_conv_backward{};
  Entry<ConvNormForward> conv_norm_forward{};
  Entry<ConvNormBackward> conv_norm_backward{};
  Entry<ConvNormAtSteps> conv_norm_at_steps{};
  Entry<ConvNormAtStepsBackward> conv_norm_at_steps_backward{};
  Entry<PatchForward> patch_forward{};
  Entry<PatchBackward> patch_backward{};
  Entry<Matmul> matmul{};
  Entry<PackWeights> pack_weights{};
  Entry<PackedMatmul> packed_matmul{};
  Entry<AddOuterProducts> add_outer_products{};
  Entry<LstmForward> lstm_forward{};
  Entry<LstmBackward> lstm_backward{};
  Entry<GruForward> gru_forward{};
  Entry<GruBackward> gru_backward{};
  Entry<MemoryStepForward> memory_step_forward{};
  Entry<MemoryStepBackward> memory_step_backward{};
  Entry<ChunkAttentionForward> chunk_attention_forward{};
  Entry<ChunkAttentionBackward> chunk_attention_backward{};
  Entry<SwapAxes> swap_axes{};
  Entry<AddSpans> add_spans{};
  Entry<SumSpans> sum_spans{};
  Entry<LayerNormForward> layer_norm_forward{};
  Entry<LayerNormBackward> layer_norm_backward{};
  Entry<GatherRows> gather_rows{};
  Entry<CoalesceRows> coalesce_rows{};
  Entry<AddRows> add_rows{};
  Entry<SelectStep> select_step{};
  Entry<SelectStepBackward> select_step_backward{};
  Entry<ReplaceRows> replace_rows{};
  Entry<ReplaceRowsBackward> replace_rows_backward{};
  Entry<SumRows> sum_rows{};
  Entry<TopK> top_k{};
  Entry<UnaryForward> unary_forward{};
  Entry<UnaryBackward> unary_backward{};
  Entry<LinearCombination> linear_combination{};
  Entry<Multiply> multiply{};
  Entry<Dot> dot{};
  Entry<Dropout> dropout{};
  Entry<SoftmaxLoss> softmax_loss{};
  Entry<SampledSoftmaxLoss> sampled_softmax_loss{};
  Entry<PairLoss> pair_loss{};
  Entry<Adam> adam{};
  Entry<AdamRows> adam_rows{};
  Entry<AdamMany> adam_many{};
  Entry<Sgd> sgd{};
  Entry<SgdRows> sgd_rows{};
  Entry<ClipFactor> clip_factor{};

  /// Bytes of PackWeights::packed for op(b) [rows, columns].
  std::size_t (*packed_bytes)(std::int64_t rows, std::int64_t columns, DType dtype) = nullptr;
};

/// The kernels of a device.  Throws Unsupported when this build has no backend for it.
REFRAIN_API const Table& table(Device device);

}  // namespace refrain::kernels
