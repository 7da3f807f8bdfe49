#include "support/cudnn/functions.hpp"

namespace refrain::kernels::cudnn {
namespace {

#if defined(REFRAIN_HAS_CUDNN)
template <auto function, class Args>
void with_pool(const Args& args, ScratchMemory& memory) {
  with_scratch(memory, [&](Scratch& scratch) { function(args, scratch); });
}

constexpr Entries all{
    .causal_conv_forward = {with_pool<causal_conv_forward>},
    .causal_conv_backward = {with_pool<causal_conv_backward>},
    .lstm_forward = {with_pool<lstm_forward>},
    .lstm_backward = {with_pool<lstm_backward>},
    .lstm_layer = {with_pool<lstm_layer>},
    .lstm_layer_backward = {with_pool<lstm_layer_backward>},
    .lstm_reserve_bytes = lstm_reserve_bytes,
    .forward_plan_bytes = forward_plan_bytes,
    .backward_plan_bytes = backward_plan_bytes,
};
#else
constexpr Entries all{};
#endif

}  // namespace

const Entries& entries() { return all; }

}  // namespace refrain::kernels::cudnn
