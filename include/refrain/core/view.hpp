#pragma once
/// Non-owning, contiguous, row-major tensors: what kernels are handed.

#include "refrain/core/device.hpp"
#include "refrain/core/dtype.hpp"
#include "refrain/core/shape.hpp"

namespace refrain {

/// Read-only elements.  A default-made View means "not given" (an absent bias, an unwanted output).
struct View {
  const void* data = nullptr;
  Shape shape;
  DType dtype = DType::f32;
  Device device = Device::cpu;

  explicit operator bool() const noexcept { return data != nullptr; }
  /// Elements as T.  The caller has checked the dtype.
  template <class T>
  const T* as() const noexcept {
    return static_cast<const T*>(data);
  }
};

/// Elements that a kernel overwrites.
struct MutableView {
  void* data = nullptr;
  Shape shape;
  DType dtype = DType::f32;
  Device device = Device::cpu;

  explicit operator bool() const noexcept { return data != nullptr; }
  operator View() const {
    return {data, shape, dtype, device};
  }  // NOLINT(google-explicit-constructor): reading is always fine
  template <class T>
  T* as() const noexcept {
    return static_cast<T*>(data);
  }
};

}  // namespace refrain
