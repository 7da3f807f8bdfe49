#pragma once
/// CUDA kernels in the emulator, as the cases of an operation run them.

#include "support/simt/orders.hpp"
#include "support/simt/run_emulated.hpp"

namespace refrain::test {

struct EmulatedBackend {
  static constexpr Device device = Device::cuda;
  static constexpr bool same_bits_for_any_choice = true;

  template <class Args>
  static void run(const Args& args) {
    run_emulated(args);
  }
  /// Calls body() in every order of threads.
  template <class Body>
  static void for_each_setting(Body body) {
    for_each_order(body);
  }
};

}  // namespace refrain::test
