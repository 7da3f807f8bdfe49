#pragma once
/// Element types.

#include <cstddef>
#include <cstdint>
#include <iosfwd>

namespace refrain {

/// Element type of a tensor.
enum class DType : std::uint8_t { f32, f64, i32, i64 };

/// Size of an element in bytes.
constexpr std::size_t size_bytes(DType dtype) noexcept {
  return dtype == DType::f32 || dtype == DType::i32 ? 4 : 8;
}

/// True for f32 and f64.
constexpr bool is_floating(DType dtype) noexcept {
  return dtype == DType::f32 || dtype == DType::f64;
}

constexpr const char* name(DType dtype) noexcept {
  switch (dtype) {
    case DType::f32:
      return "f32";
    case DType::f64:
      return "f64";
    case DType::i32:
      return "i32";
    case DType::i64:
      return "i64";
  }
  return "?";
}

template <class Traits>
std::basic_ostream<char, Traits>& operator<<(std::basic_ostream<char, Traits>& out, DType dtype) {
  return out << name(dtype);
}

namespace detail {
template <class T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::f32;
};
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::f64;
};
template <>
struct DTypeOf<std::int32_t> {
  static constexpr DType value = DType::i32;
};
template <>
struct DTypeOf<std::int64_t> {
  static constexpr DType value = DType::i64;
};
}  // namespace detail

/// The DType of a C++ element type: float, double, std::int32_t or std::int64_t.
template <class T>
inline constexpr DType dtype_of = detail::DTypeOf<T>::value;

}  // namespace refrain
