#pragma once
/// The memory of kernel tests. Each array is a separate allocation of exactly its elements, so that
/// sanitizers detect every access outside it; it is filled with NaN (integers: -1) until written.
/// The emulator of CUDA kernels uses it as GPU memory.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <vector>

#include "refrain/core/random.hpp"
#include "refrain/core/view.hpp"

namespace refrain::test {

template <class T, Device where>
class GuardedArray {
 public:
  /// Holds `values`, or NaN without values. Starts at a multiple of 256 bytes, like blocks of
  /// cudaMalloc, or `offset` elements later.
  explicit GuardedArray(const Shape& shape, const std::vector<T>& values = {}, int offset = 0)
      : shape_(shape),
        count_(static_cast<std::size_t>(shape.numel())),
        block_(static_cast<T*>(
            ::operator new((count_ + static_cast<std::size_t>(offset)) * sizeof(T), alignment))),
        data_(block_.get() + offset) {
    std::memset(block_.get(), 0xff, (count_ + static_cast<std::size_t>(offset)) * sizeof(T));
    if (values.empty()) return;
    if (values.size() != count_)
      throw ShapeError(detail::concat("GuardedArray: ", values.size(), " values for ", shape));
    std::copy(values.begin(), values.end(), data_);
  }

  const Shape& shape() const { return shape_; }
  View view() const { return {data_, shape_, dtype_of<T>, where}; }
  MutableView mutable_view() { return {data_, shape_, dtype_of<T>, where}; }
  operator View() const { return view(); }           // NOLINT(google-explicit-constructor)
  operator MutableView() { return mutable_view(); }  // NOLINT(google-explicit-constructor)
  T* data() { return data_; }
  const T* data() const { return data_; }
  std::span<const T> span() const { return {data_, count_}; }
  std::vector<T> values() const { return {data_, data_ + count_}; }
  std::vector<double> doubles() const { return {data_, data_ + count_}; }

 private:
  static constexpr std::align_val_t alignment{256};
  struct Release {
    void operator()(T* block) const { ::operator delete(block, alignment); }
  };

  Shape shape_;
  std::size_t count_;
  std::unique_ptr<T, Release> block_;
  T* data_;
};

/// Memory of the emulated GPU.
template <class T>
using DeviceArray = GuardedArray<T, Device::cuda>;

/// Standard normal numbers.
template <class T, Device where = Device::cuda>
GuardedArray<T, where> random_array(const Shape& shape, std::uint64_t seed, double deviation = 1,
                                    int offset = 0) {
  GuardedArray<T, where> array(shape, {}, offset);
  Random random(seed);
  for (std::int64_t i = 0; i < shape.numel(); ++i)
    array.data()[i] = static_cast<T>(deviation * random.normal());
  return array;
}

/// Ids in [0, bound).
template <Device where = Device::cuda>
GuardedArray<std::int32_t, where> random_id_array(std::int64_t count, std::int64_t bound,
                                                  std::uint64_t seed) {
  GuardedArray<std::int32_t, where> ids({count});
  Random random(seed);
  for (std::int64_t i = 0; i < count; ++i)
    ids.data()[i] = static_cast<std::int32_t>(random.below(bound));
  return ids;
}

/// True when two arrays hold the same bytes.
template <class T, Device where>
bool same_bytes(const GuardedArray<T, where>& a, const GuardedArray<T, where>& b) {
  return a.span().size() == b.span().size() &&
         std::memcmp(a.data(), b.data(), a.span().size_bytes()) == 0;
}

}  // namespace refrain::test
