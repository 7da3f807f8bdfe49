#pragma once
/// Where a program computes.

#include "common/options.hpp"
#include "refrain/core/device.hpp"
#include "refrain/core/error.hpp"

namespace refrain::examples {

/// The device of --device.  Throws OptionError when this build or machine has none.
inline Device device_of(const RunOptions& run) {
  if (is_available(run.device)) return run.device;
  throw OptionError(
      "--device cuda: expected a build with REFRAIN_CUDA=ON on a machine with an NVIDIA GPU and "
      "its driver, found none; use --device cpu");
}

}  // namespace refrain::examples
