#pragma once
/// Non-owning, contiguous, row-major tensors: the arguments of kernels.

#include "refrain/core/device.hpp"
#include "refrain/core/dtype.hpp"
#include "refrain/core/shape.hpp"

namespace refrain {

/// Elements that a kernel reads. An empty view stands for an absent argument (no bias). A Tensor
/// and a Variable convert to a View, which is valid while their elements exist.
struct View {
  const void* data = nullptr;
  Shape shape;
  DType dtype = DType::f32;
  Device device = Device::cpu;

  explicit operator bool() const noexcept { return data != nullptr; }
  /// The elements as T.  The caller has checked the dtype.
  template <class T>
  const T* as() const noexcept {
    return static_cast<const T*>(data);
  }
};

/// Elements that a kernel writes. An empty view stands for an output that is not computed. A Tensor
/// that is not const converts to a MutableView.
struct MutableView {
  void* data = nullptr;
  Shape shape;
  DType dtype = DType::f32;
  Device device = Device::cpu;

  explicit operator bool() const noexcept { return data != nullptr; }
  operator View() const {  // NOLINT(google-explicit-constructor): what is writable is readable
    return {data, shape, dtype, device};
  }
  /// The elements as T.  The caller has checked the dtype.
  template <class T>
  T* as() const noexcept {
    return static_cast<T*>(data);
  }
};

}  // namespace refrain
