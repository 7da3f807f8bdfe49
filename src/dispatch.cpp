/// The kernel tables of the devices, and the error for a kernel that a device lacks. The CPU's
/// table is that of the instruction set level in use (kernels/cpu_table.cpp).

#include "kernels/cpu_levels.hpp"
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

}  // namespace

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
  throw Unsupported(
      refrain::detail::concat(name, ": Device::", device, " has no such kernel: ", reason));
}

}  // namespace refrain::kernels
