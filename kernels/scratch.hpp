#pragma once
/// Layout of the scratch memory of a kernel. The same code runs twice: once to count the bytes,
/// once on the memory.

#include <cstddef>
#include <cstdint>

#include "refrain/kernels/entry.hpp"

namespace refrain::kernels {

class Scratch {
 public:
  /// A layout that only counts: every piece is null.
  Scratch() = default;
  explicit Scratch(void* base) : base_(static_cast<std::byte*>(base)), is_counting_(false) {}

  /// The next `count` >= 0 elements at a multiple of `alignment` bytes, which must not exceed the
  /// alignment of the memory itself.
  template <class T, std::size_t alignment = 64>
  T* take(std::int64_t count) {
    bytes_ = (bytes_ + alignment - 1) / alignment * alignment;
    T* const piece = is_counting_ ? nullptr : reinterpret_cast<T*>(base_ + bytes_);
    bytes_ += static_cast<std::size_t>(count) * sizeof(T);
    return piece;
  }

  bool is_counting() const { return is_counting_; }
  std::size_t bytes() const { return bytes_; }

 private:
  std::byte* base_ = nullptr;
  std::size_t bytes_ = 0;
  bool is_counting_ = true;
};

/// Calls kernel(Scratch&) once to count, then on memory of exactly that size.
template <class Kernel>
void with_scratch(ScratchMemory& memory, Kernel&& kernel) {
  Scratch counted;
  kernel(counted);
  alignas(256) std::byte empty[1];  // empty pieces are not null
  Scratch scratch(counted.bytes() == 0 ? empty : memory.allocate(counted.bytes()));
  kernel(scratch);
}

}  // namespace refrain::kernels
