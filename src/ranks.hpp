#pragma once
/// What the functions over ranks share: numbers of ranks as indices, tensors as bytes.

#include <cstddef>
#include <cstdint>
#include <span>

#include "refrain/core/tensor.hpp"

namespace refrain {

inline std::size_t at(std::int64_t index) { return static_cast<std::size_t>(index); }

inline std::span<const std::byte> bytes_of(const Tensor& tensor) {
  return {static_cast<const std::byte*>(tensor.raw()), tensor.bytes()};
}
inline std::span<std::byte> bytes_of(Tensor& tensor) {
  return {static_cast<std::byte*>(tensor.raw()), tensor.bytes()};
}

}  // namespace refrain
