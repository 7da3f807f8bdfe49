#pragma once
/// Where the cases of an operation run: the CPU kernels of the table here, the CUDA kernels in the
/// emulator in support/simt/emulated_backend.hpp.

#include "refrain/kernels/run.hpp"
#include "support/guarded_array.hpp"
#include "support/tensors.hpp"

namespace refrain::test {

struct CpuBackend {
  static constexpr Device device = Device::cpu;
  /// True when an output has the same bits whichever other outputs are computed with it.
  static constexpr bool same_bits_for_any_choice = false;

  template <class Args>
  static void run(const Args& args) {
    kernels::run(args);
  }
  /// Calls body() in all settings in which a kernel must give the same bits: numbers of threads.
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
