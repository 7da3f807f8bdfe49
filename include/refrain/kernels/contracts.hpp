#pragma once
/// The list of all contracts.
///
/// A contract is the argument struct of one operation and the key of that operation's kernels: each
/// device has a table (table.hpp) with one entry for each contract of the list. A contract has a
/// `name`, and `device()` returns the device of its views.

#include <cstddef>
#include <type_traits>

namespace refrain::kernels {

template <class... Args>
struct ContractList {
  static constexpr std::size_t size = sizeof...(Args);
  template <class Contract>
  static constexpr bool contains = (std::is_same_v<Contract, Args> || ...);
};

/// The list only names the structs, so that a contract can be used without the headers of the
/// others; the headers of this folder define them.
using Contracts = ContractList<
    // causal_conv.hpp
    struct CausalConvForward, struct CausalConvBackward,
    // conv_norm.hpp
    struct ConvNormForward, struct ConvNormBackward, struct ConvNormAtSteps,
    struct ConvNormAtStepsBackward, struct ConvNormOfStreams,
    // patch.hpp
    struct PatchForward, struct PatchBackward,
    // matmul.hpp
    struct Matmul, struct PackWeights, struct PackedMatmul, struct AddOuterProducts,
    // recurrent.hpp
    struct LstmForward, struct LstmBackward, struct GruForward, struct GruBackward,
    // memory.hpp
    struct MemoryStepForward, struct MemoryStepBackward,
    // chunk_attention.hpp
    struct ChunkAttentionForward, struct ChunkAttentionBackward,
    // steps.hpp
    struct SwapAxes, struct AddSpans, struct SumSpans, struct SelectStep, struct SelectStepBackward,
    // layer_norm.hpp
    struct LayerNormForward, struct LayerNormBackward,
    // gather.hpp
    struct GatherRows, struct CoalesceRows, struct AddRows,
    // replace_rows.hpp
    struct ReplaceRows, struct ReplaceRowsBackward,
    // sum_rows.hpp
    struct SumRows,
    // top_k.hpp
    struct TopK,
    // pointwise.hpp
    struct UnaryForward, struct UnaryBackward, struct LinearCombination, struct Multiply,
    struct Dot, struct Dropout,
    // loss.hpp
    struct SoftmaxLoss, struct SampledSoftmaxLoss, struct SoftmaxLossOfBank, struct PairLoss,
    // optimizer.hpp
    struct Adam, struct AdamRows, struct AdamMany, struct Sgd, struct SgdRows, struct ClipFactor>;

}  // namespace refrain::kernels
