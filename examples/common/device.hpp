#pragma once
/// The device on which a program computes.

#include "common/options.hpp"
#include "refrain/core/device.hpp"
#include "refrain/core/error.hpp"

namespace refrain::examples {

/// The device of --device. Throws OptionError if it is not available.
inline Device device_of(const RunOptions& run) {
  if (is_available(run.device)) return run.device;
  throw OptionError(
      "--device cuda: expected a build with REFRAIN_CUDA=ON and a machine with an NVIDIA GPU and "
      "its driver; use --device cpu");
}

}  // namespace refrain::examples
