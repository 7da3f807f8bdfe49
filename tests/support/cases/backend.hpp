#pragma once
/// The backend on which test cases of an operation run: this file has the CPU kernels of the table,
/// support/simt/emulated_backend.hpp the CUDA kernels in the emulator.

#include "refrain/kernels/run.hpp"
#include "support/guarded_array.hpp"
#include "support/tensors.hpp"

namespace refrain::test {

struct CpuBackend {
  static constexpr Device device = Device::cpu;
  /// True when the bits of an output do not depend on which other outputs are computed.
  static constexpr bool same_bits_for_any_choice = false;

  template <class Args>
  static void run(const Args& args) {
    kernels::run(args);
  }
  /// Calls body() in all settings in which a kernel must give the same bits; on the CPU these are
  /// numbers of threads.
  template <class Body>
  static void for_each_setting(Body body) {
    for (const int count : {1, 2, 3, 5}) {
      INFO(count << " threads");
      const ThreadCount scope(count);
      body();
    }
  }
};

}  // namespace refrain::test
