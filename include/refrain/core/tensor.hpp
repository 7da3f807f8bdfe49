#pragma once
/// Owning tensors.

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <new>
#include <span>
#include <utility>

#include "refrain/core/view.hpp"

namespace refrain {

/// Caller-owned memory that a Tensor wraps.
struct LentMemory {
  void* data = nullptr;   ///< the first element; not null, aligned to its type
  void* owner = nullptr;  ///< the argument of `release`
  /// Called once, when the last handle on the elements is destroyed; must not throw. Null: not
  /// called.
  void (*release)(void* owner) = nullptr;
};

/// A contiguous row-major array of f32, f64, i32 or i64 on one device.
///
/// Copies, reshape() and slice() share the elements and keep the storage alive; clone() copies the
/// elements into new storage. Storage comes from the device's pool or is caller-owned. A
/// default-constructed Tensor is undefined.
class Tensor {
 public:
  Tensor() = default;

  /// Allocates uninitialized elements. Throws ShapeError when the size in bytes does not fit 64
  /// bits, OutOfMemory when the device has too little memory.
  Tensor(const Shape& shape, DType dtype, Device device = Device::cpu)
      : shape_(shape), dtype_(dtype) {
    storage_ = Storage::make(checked_bytes(shape, dtype), device);
    data_ = storage_->data;
  }

  /// Wraps caller-owned memory without copying. Throws ShapeError when the size in bytes does not
  /// fit 64 bits or the memory is null or misaligned; then `release` is not called.
  Tensor(const Shape& shape, DType dtype, Device device, const LentMemory& memory)
      : shape_(shape), dtype_(dtype) {
    const std::size_t bytes = checked_bytes(shape, dtype);
    if (memory.data == nullptr ||
        reinterpret_cast<std::uintptr_t>(memory.data) % size_bytes(dtype) != 0) {
      throw ShapeError(detail::concat("Tensor: expected memory aligned to an element of ", dtype,
                                      ", got address ", memory.data));
    }
    storage_ = Storage::lend(bytes, device, memory);
    data_ = storage_->data;
  }

  /// A tensor of zeros.
  static Tensor zeros(const Shape& shape, DType dtype, Device device = Device::cpu) {
    Tensor tensor(shape, dtype, device);
    tensor.zero();
    return tensor;
  }

  /// A tensor whose elements all equal `value`.
  static Tensor full(const Shape& shape, double value, DType dtype, Device device = Device::cpu) {
    Tensor tensor(shape, dtype, device);
    tensor.fill(value);
    return tensor;
  }

  /// A tensor of `shape` whose elements all equal the only element of `element`. Throws ShapeError
  /// unless `element` has exactly one.
  static Tensor repeated(const Tensor& element, const Shape& shape) {
    if (element.numel() != 1)
      throw ShapeError(
          detail::concat("Tensor::repeated: expected one element, got ", element.shape_));
    Tensor tensor(shape, element.dtype_, element.device());
    if (tensor.numel() == 0) return tensor;
    copy_bytes(tensor.data_, tensor.device(), element.data_, element.device(),
               size_bytes(element.dtype_));
    repeat_bytes(tensor.data_, tensor.device(), size_bytes(element.dtype_), tensor.bytes());
    return tensor;
  }

  /// Copies `values` (row-major). Throws ShapeError unless there is one value for each element.
  template <class T>
  static Tensor from(const Shape& shape, std::span<const T> values) {
    if (static_cast<std::int64_t>(values.size()) != shape.numel()) {
      throw ShapeError(detail::concat("Tensor::from: expected ", shape.numel(), " values for ",
                                      shape, ", got ", values.size()));
    }
    Tensor tensor(shape, dtype_of<T>);
    std::copy(values.begin(), values.end(), tensor.data<T>());
    return tensor;
  }
  template <class T>
  static Tensor from(const Shape& shape, std::initializer_list<T> values) {
    return from(shape, std::span<const T>(values.begin(), values.size()));
  }

  Tensor(const Tensor& other) noexcept
      : storage_(other.storage_), data_(other.data_), shape_(other.shape_), dtype_(other.dtype_) {
    if (storage_ != nullptr) storage_->references.fetch_add(1, std::memory_order_relaxed);
  }
  Tensor(Tensor&& other) noexcept
      : storage_(std::exchange(other.storage_, nullptr)),
        data_(std::exchange(other.data_, nullptr)),
        shape_(std::exchange(other.shape_, Shape())),
        dtype_(other.dtype_) {}
  Tensor& operator=(Tensor other) noexcept {
    std::swap(storage_, other.storage_);
    std::swap(data_, other.data_);
    std::swap(shape_, other.shape_);
    std::swap(dtype_, other.dtype_);
    return *this;
  }
  ~Tensor() {
    if (storage_ != nullptr && storage_->references.fetch_sub(1, std::memory_order_acq_rel) == 1)
      Storage::destroy(storage_);
  }

  bool defined() const noexcept { return storage_ != nullptr; }
  const Shape& shape() const noexcept { return shape_; }
  std::int64_t size(int axis) const { return shape_[axis]; }
  int rank() const noexcept { return shape_.rank(); }
  std::int64_t numel() const noexcept { return defined() ? shape_.numel() : 0; }
  std::size_t bytes() const noexcept {
    return static_cast<std::size_t>(numel()) * size_bytes(dtype_);
  }
  DType dtype() const noexcept { return dtype_; }
  Device device() const noexcept { return defined() ? storage_->device : Device::cpu; }
  /// True when both share storage, so that writing to one may change the other.
  bool shares_storage_with(const Tensor& other) const noexcept {
    return defined() && storage_ == other.storage_;
  }
  /// True when this is the only handle on its storage.
  bool unique() const noexcept {
    return defined() && storage_->references.load(std::memory_order_acquire) == 1;
  }

  /// The elements on the host. Throws DTypeError for another element type, DeviceError off the CPU.
  template <class T>
  T* data() {
    check_access(dtype_of<T>);
    return static_cast<T*>(data_);
  }
  template <class T>
  const T* data() const {
    check_access(dtype_of<T>);
    return static_cast<const T*>(data_);
  }
  template <class T>
  std::span<T> span() {
    return {data<T>(), static_cast<std::size_t>(numel())};
  }
  template <class T>
  std::span<const T> span() const {
    return {data<T>(), static_cast<std::size_t>(numel())};
  }

  /// The address of the first element on the tensor's device.
  const void* raw() const noexcept { return data_; }
  void* raw() noexcept { return data_; }

  View view() const { return {data_, shape_, dtype_, device()}; }
  MutableView mutable_view() { return {data_, shape_, dtype_, device()}; }
  /// A Tensor converts to a kernel's argument; an undefined tensor is an empty view. A temporary
  /// does not convert to an output, whose result would be lost.
  operator View() const { return view(); }             // NOLINT(google-explicit-constructor)
  operator MutableView() & { return mutable_view(); }  // NOLINT(google-explicit-constructor)

  /// The same elements with other extents. Throws ShapeError unless the number of elements is the
  /// same.
  Tensor reshape(const Shape& shape) const {
    if (shape.numel() != shape_.numel())
      throw ShapeError(detail::concat("reshape: expected a shape of ", shape_.numel(),
                                      " elements for ", shape_, ", got ", shape));
    Tensor tensor = *this;
    tensor.shape_ = shape;
    return tensor;
  }

  /// The same elements as a matrix [rows, last extent]. Throws ShapeError for a scalar.
  Tensor as_matrix() const { return reshape({shape_.rows(), shape_[-1]}); }

  /// Rows [begin, end) of the outermost axis, sharing storage.
  Tensor slice(std::int64_t begin, std::int64_t end) const {
    if (rank() == 0 || begin < 0 || end < begin || end > shape_[0]) {
      throw ShapeError(
          detail::concat("slice: expected rows of ", shape_, ", got [", begin, ", ", end, ")"));
    }
    Tensor tensor = *this;
    const std::int64_t stride = shape_[0] == 0 ? 0 : shape_.numel() / shape_[0];
    tensor.data_ =
        static_cast<char*>(data_) + static_cast<std::size_t>(begin * stride) * size_bytes(dtype_);
    tensor.shape_ = shape_.with(0, end - begin);
    return tensor;
  }

  /// A copy in new storage on the same device.
  Tensor clone() const { return defined() ? copy_on(device()) : Tensor(); }

  /// This tensor on another device; shares storage when it is on that device already. A copy to the
  /// CPU waits for the device. Throws Unsupported for an unavailable device.
  Tensor to(Device device) const {
    return !defined() || device == this->device() ? *this : copy_on(device);
  }

  /// Element-wise conversion on the CPU; shares storage when the type is the same.
  Tensor to(DType dtype) const {
    if (dtype == dtype_) return *this;
    Tensor out(shape_, dtype);
    dispatch(dtype_, [&]<class From>(From) {
      dispatch(dtype, [&]<class To>(To) {
        const From* from = data<From>();
        To* to = out.data<To>();
        for (std::int64_t i = 0; i < numel(); ++i) to[i] = static_cast<To>(from[i]);
      });
    });
    return out;
  }

  /// Overwrites this tensor's elements. Throws ShapeError or DTypeError on a mismatch, or when
  /// either is undefined.
  void copy_from(const Tensor& other) {
    if (!defined() || !other.defined())
      throw ShapeError("copy_from: expected two defined tensors, got an undefined one");
    if (other.shape_ != shape_)
      throw ShapeError(detail::concat("copy_from: expected ", shape_, ", got ", other.shape_));
    if (other.dtype_ != dtype_)
      throw DTypeError(detail::concat("copy_from: expected ", dtype_, ", got ", other.dtype_));
    copy_bytes(data_, device(), other.data_, other.device(), bytes());
  }

  /// Sets all elements to zero.
  void zero() {
    if (bytes() > 0) zero_bytes(data_, device(), bytes());
  }

  /// Sets all elements to `value`.
  void fill(double value) {
    dispatch(dtype_, [&]<class T>(T) {
      if (device() == Device::cpu) {
        std::fill_n(data<T>(), numel(), static_cast<T>(value));
      } else if (value == 0 && !std::signbit(value)) {
        zero();
      } else if (numel() > 0) {
        std::array<T, 256> start;
        start.fill(static_cast<T>(value));
        const std::size_t first = std::min(bytes(), sizeof start);
        copy_bytes(data_, device(), start.data(), Device::cpu, first);
        repeat_bytes(data_, device(), first, bytes());
      }
    });
  }

  /// The only element as a number; waits for the device. Throws ShapeError unless there is exactly
  /// one element.
  double item() const {
    if (numel() != 1) throw ShapeError(detail::concat("item: expected one element, got ", shape_));
    const Tensor host = to(Device::cpu);
    double value = 0;
    dispatch(dtype_, [&]<class T>(T) { value = static_cast<double>(*host.data<T>()); });
    return value;
  }

 private:
  struct Storage {
    std::atomic<std::int64_t> references;
    std::size_t bytes;
    void* data;
    Device device;
    /// Releases caller-owned memory; null: the block returns to the pool.
    void (*release)(void* owner);
    void* owner;

    static Storage* make(std::size_t bytes, Device device) {
      void* block = pool_allocate(sizeof(Storage), Device::cpu);
      void* data = nullptr;
      try {
        data = pool_allocate(bytes, device);
      } catch (...) {
        pool_release(block, sizeof(Storage), Device::cpu);
        throw;
      }
      return new (block) Storage{1, bytes, data, device, nullptr, nullptr};
    }
    static Storage* lend(std::size_t bytes, Device device, const LentMemory& memory) {
      void* block = pool_allocate(sizeof(Storage), Device::cpu);
      const auto keep = [](void*) {};
      return new (block) Storage{1,
                                 bytes,
                                 memory.data,
                                 device,
                                 memory.release != nullptr ? memory.release : keep,
                                 memory.owner};
    }
    static void destroy(Storage* storage) noexcept {
      if (storage->release != nullptr) {
        storage->release(storage->owner);
      } else {
        pool_release(storage->data, storage->bytes, storage->device);
      }
      storage->~Storage();
      pool_release(storage, sizeof(Storage), Device::cpu);
    }
  };

  template <class Function>
  static void dispatch(DType dtype, Function&& function) {
    switch (dtype) {
      case DType::f32:
        return function(float{});
      case DType::f64:
        return function(double{});
      case DType::i32:
        return function(std::int32_t{});
      case DType::i64:
        return function(std::int64_t{});
    }
  }

  static std::size_t checked_bytes(const Shape& shape, DType dtype) {
    const std::int64_t element = static_cast<std::int64_t>(size_bytes(dtype));
    if (shape.numel() > (std::int64_t{1} << 62) / element) {
      throw ShapeError(
          detail::concat("Tensor: ", shape, " of ", dtype, " is too large to address"));
    }
    return static_cast<std::size_t>(shape.numel() * element);
  }

  void check_access(DType wanted) const {
    if (!defined()) throw ShapeError("data: expected a defined tensor, got an undefined one");
    if (dtype_ != wanted)
      throw DTypeError(detail::concat("data: expected a tensor of ", wanted, ", got ", dtype_));
    if (device() != Device::cpu)
      throw DeviceError(detail::concat("data: expected a tensor on the CPU, got one on ", device(),
                                       "; copy it with to(Device::cpu)"));
  }

  Tensor copy_on(Device device) const {
    Tensor out(shape_, dtype_, device);
    if (bytes() > 0) copy_bytes(out.data_, device, data_, this->device(), bytes());
    return out;
  }

  Storage* storage_ = nullptr;
  void* data_ = nullptr;
  Shape shape_;
  DType dtype_ = DType::f32;
};

/// Uninitialized elements of the same shape, dtype and device; undefined for an undefined tensor.
inline Tensor empty_like(const Tensor& like) {
  return like.defined() ? Tensor(like.shape(), like.dtype(), like.device()) : Tensor();
}

/// Uninitialized elements of `shape` with the dtype and device of `like`.
inline Tensor empty_like(const Tensor& like, const Shape& shape) {
  return Tensor(shape, like.dtype(), like.device());
}

}  // namespace refrain
