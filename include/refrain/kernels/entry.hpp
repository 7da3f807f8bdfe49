#pragma once
/// One entry of a device's table: the kernel of a contract.

#include <cstddef>

namespace refrain::kernels {

/// Allocates scratch memory for a kernel.
class ScratchMemory {
 public:
  /// Memory aligned to 64 bytes, on a GPU to 256 bytes, valid during the lifetime of this object.
  /// `bytes` > 0. A kernel calls it at most once.
  virtual void* allocate(std::size_t bytes) = 0;

 protected:
  ~ScratchMemory() = default;
};

template <class Args>
struct Entry {
  /// Null when the device has no kernel for the contract.
  void (*run)(const Args& args, ScratchMemory& memory) = nullptr;
  /// The reason why the kernel is absent, as a sentence; null when it exists.
  const char* absent = nullptr;

  explicit operator bool() const noexcept { return run != nullptr; }
};

}  // namespace refrain::kernels
