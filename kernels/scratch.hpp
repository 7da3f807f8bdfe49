#pragma once
/// Laying out a kernel's workspace. The same plan runs twice: on a null base to count the bytes,
/// and on the real one.

#include <cstddef>
#include <cstdint>

namespace refrain::kernels {

class Scratch {
 public:
  explicit Scratch(void* base) : base_(static_cast<std::byte*>(base)) {}

  /// The next `count` elements, 64-byte aligned. Negative counts never occur: extents have been
  /// checked.
  template <class T>
  T* take(std::int64_t count) {
    T* const piece = base_ == nullptr ? nullptr : reinterpret_cast<T*>(base_ + bytes_);
    bytes_ += (static_cast<std::size_t>(count) * sizeof(T) + 63) / 64 * 64;
    return piece;
  }

  std::size_t bytes() const { return bytes_; }

 private:
  std::byte* base_;
  std::size_t bytes_ = 0;
};

}  // namespace refrain::kernels
