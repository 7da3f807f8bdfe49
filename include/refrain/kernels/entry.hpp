#pragma once
/// One entry of a device's table: the kernel of one contract.

#include <cstddef>

namespace refrain::kernels {

/// Gives a kernel its scratch memory.
class ScratchMemory {
 public:
  /// Memory aligned to 64 bytes, on a GPU to 256, valid as long as this object. `bytes` > 0. A
  /// kernel calls it at most once.
  virtual void* allocate(std::size_t bytes) = 0;

 protected:
  ~ScratchMemory() = default;
};

template <class Args>
struct Entry {
  /// Null: the device has no such kernel.
  void (*run)(const Args& args, ScratchMemory& memory) = nullptr;
  /// A sentence that says why there is no kernel; null where there is one.
  const char* absent = nullptr;

  explicit operator bool() const noexcept { return run != nullptr; }
};

}  // namespace refrain::kernels
