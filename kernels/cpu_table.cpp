/// The table of one instruction set level; all levels compile this source.

#include "kernels/cpu_levels.hpp"
#include "kernels/entries.hpp"

namespace refrain::kernels::cpu {

// A constant, because no code of a level may run before the CPU is known to support it.
constinit const Table REFRAIN_ISA::table = Table::made_by([]<class Args>() -> Entry<Args> {
  if constexpr (absent<Device::cpu, Args> != nullptr) {
    return {.absent = absent<Device::cpu, Args>};
  } else {
    return {.run = entry<Args>};
  }
});

}  // namespace refrain::kernels::cpu
