#pragma once
/// Runs whole CUDA kernels under the emulation.

#include <cstddef>
#include <cstdint>
#include <optional>

#include "kernels/entries.hpp"
#include "support/guarded_array.hpp"
#include "support/simt/machine.hpp"

namespace refrain::test {

/// Scratch memory of exactly the bytes that a kernel takes, in a separate allocation.
class GuardedScratch final : public kernels::ScratchMemory {
 public:
  void* allocate(std::size_t bytes) override {
    return block_.emplace(Shape{static_cast<std::int64_t>((bytes + 3) / 4)}).data();
  }

 private:
  std::optional<DeviceArray<std::int32_t>> block_;
};

/// Runs the CUDA kernel of a contract like the dispatch table.
template <class Args>
void run_emulated(const Args& args) {
  GuardedScratch scratch;
  kernels::cuda::entry(args, scratch);
}

/// Number of kernels that body() launches.
template <class Body>
std::int64_t launches_of(Body body) {
  const std::int64_t before = simt::emulation::launches();
  body();
  return simt::emulation::launches() - before;
}

/// Bytes of scratch memory that the kernel takes, without running it.
template <class Args>
std::size_t scratch_bytes(const Args& args) {
  struct Counted {
    std::size_t bytes;
  };
  class Counter final : public kernels::ScratchMemory {
   public:
    void* allocate(std::size_t bytes) override { throw Counted{bytes}; }
  } counter;
  try {
    kernels::cuda::entry(args, counter);
  } catch (const Counted& counted) {
    return counted.bytes;
  }
  return 0;
}

}  // namespace refrain::test
