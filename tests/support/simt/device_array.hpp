#pragma once
/// What stands for GPU memory in emulation tests: each array an allocation of its own, exactly as
/// long as its elements, so that the sanitizers see every access beside it; full of NaN (integers:
/// -1) until written.

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

template <class T>
class DeviceArray {
 public:
  /// Holds `values`, or NaN when there are none. Starts at a multiple of 256 bytes, as cudaMalloc's
  /// blocks do, or `offset` elements further.
  explicit DeviceArray(const Shape& shape, const std::vector<T>& values = {}, int offset = 0)
      : shape_(shape),
        count_(static_cast<std::size_t>(shape.numel())),
        block_(static_cast<T*>(
            ::operator new((count_ + static_cast<std::size_t>(offset)) * sizeof(T), alignment))),
        data_(block_.get() + offset) {
    std::memset(block_.get(), 0xff, (count_ + static_cast<std::size_t>(offset)) * sizeof(T));
    if (values.empty()) return;
    if (values.size() != count_)
      throw ShapeError(detail::concat("DeviceArray: ", values.size(), " values for ", shape));
    std::copy(values.begin(), values.end(), data_);
  }

  View view() const { return {data_, shape_, dtype_of<T>, Device::cuda}; }
  MutableView mutable_view() { return {data_, shape_, dtype_of<T>, Device::cuda}; }
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

/// Normal numbers.
template <class T>
DeviceArray<T> random_array(const Shape& shape, std::uint64_t seed, double deviation = 1,
                            int offset = 0) {
  DeviceArray<T> array(shape, {}, offset);
  Random random(seed);
  for (std::int64_t i = 0; i < shape.numel(); ++i)
    array.data()[i] = static_cast<T>(deviation * random.normal());
  return array;
}

/// Ids in [0, bound).
inline DeviceArray<std::int32_t> random_id_array(std::int64_t count, std::int64_t bound,
                                                 std::uint64_t seed) {
  DeviceArray<std::int32_t> ids({count});
  Random random(seed);
  for (std::int64_t i = 0; i < count; ++i)
    ids.data()[i] = static_cast<std::int32_t>(random.below(bound));
  return ids;
}

/// True when two arrays hold the same bytes.
template <class T>
bool same_bytes(const DeviceArray<T>& a, const DeviceArray<T>& b) {
  return a.span().size() == b.span().size() &&
         std::memcmp(a.data(), b.data(), a.span().size_bytes()) == 0;
}

}  // namespace refrain::test
