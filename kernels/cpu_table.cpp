/// The table of one instruction set level: the same source for all of them.

#include "kernels/cpu_levels.hpp"
#include "kernels/entries.hpp"

namespace refrain::kernels::cpu {

// A constant: nothing of a level may run before it is known that the CPU can run it.
constinit const Table REFRAIN_ISA::table = Table::made_by([]<class Args>() -> Entry<Args> {
  if constexpr (absent<Device::cpu, Args> != nullptr) {
    return {.absent = absent<Device::cpu, Args>};
  } else {
    return {.run = entry<Args>};
  }
});

}  // namespace refrain::kernels::cpu
