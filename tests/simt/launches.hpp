#pragma once
/// Launches of single kernels in the tests of the emulated GPU.

#include <numeric>
#include <string>
#include <type_traits>
#include <vector>

#include "support/guarded_array.hpp"
#include "support/simt/emulation.hpp"

namespace refrain::test {

inline std::vector<int> counted(int count) {
  std::vector<int> values(static_cast<std::size_t>(count));
  std::iota(values.begin(), values.end(), 0);
  return values;
}

template <class... Parameters>
void start(int threads, void (*kernel)(Parameters...),
           std::type_identity_t<Parameters>... arguments) {
  simt::launch({.name = "kernel", .grid = 1, .block = static_cast<unsigned>(threads)}, kernel,
               arguments...);
}

/// The message of the EmulationError that `body` throws; "" when it throws none.
template <class Body>
std::string refusal(Body body) {
  try {
    body();
  } catch (const simt::EmulationError& error) {
    return error.what();
  }
  return "";
}

}  // namespace refrain::test
