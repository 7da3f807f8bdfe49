/// The tables of the devices, and the error for a kernel that a device lacks. The CPU's table is
/// that of its instruction set level (kernels/cpu_table.cpp).

#include "kernels/cpu_levels.hpp"
#include "kernels/cudnn/functions.hpp"
#include "kernels/entries.hpp"
#include "refrain/core/error.hpp"
#include "refrain/kernels/run.hpp"

namespace refrain::kernels {
namespace {

#if defined(REFRAIN_HAS_CUDA)
constexpr Table cuda_table = Table::made_by([]<class Args>() -> Entry<Args> {
  if constexpr (absent<Device::cuda, Args> != nullptr) {
    return {.absent = absent<Device::cuda, Args>};
  } else {
    return {.run = cuda::entry<Args>};
  }
});
#endif

#if defined(REFRAIN_HAS_CUDNN)
template <auto function, class Args>
void with_pool(const Args& args, ScratchMemory& memory) {
  with_scratch(memory, [&](Scratch& scratch) { function(args, scratch); });
}
#endif

// Beside the table, not in it: for tests and benchmarks.
constexpr cudnn::Entries cudnn_entries {
#if defined(REFRAIN_HAS_CUDNN)
  .causal_conv_forward = {with_pool<cudnn::causal_conv_forward>},
  .causal_conv_backward = {with_pool<cudnn::causal_conv_backward>},
  .lstm_forward = {with_pool<cudnn::lstm_forward>},
  .lstm_backward = {with_pool<cudnn::lstm_backward>}, .lstm_layer = {with_pool<cudnn::lstm_layer>},
  .lstm_layer_backward = {with_pool<cudnn::lstm_layer_backward>},
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

void detail::throw_absent(const char* name, Device device, const char* reason) {
  throw Unsupported(concat(name, ": Device::", device, " has no such kernel: ", reason));
}

}  // namespace refrain::kernels
