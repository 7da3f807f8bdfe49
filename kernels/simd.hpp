#pragma once
/// Vectors of the maximum size that this translation unit is compiled for, and their functions in
/// kernels.
///
/// `Lanes<T>::Vector` is a compiler vector type: + - * / and comparisons work on it, also with a
/// scalar as one operand. `for_lanes` runs one body on whole vectors and then on the remaining
/// scalars, so that a loop is written once.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#if defined(__AVX512F__)
#define REFRAIN_VECTOR_BYTES 64
#define REFRAIN_VECTOR_NAMESPACE vectors_of_64_bytes
#elif defined(__AVX__)
#define REFRAIN_VECTOR_BYTES 32
#define REFRAIN_VECTOR_NAMESPACE vectors_of_32_bytes
#else
#define REFRAIN_VECTOR_BYTES 16
#define REFRAIN_VECTOR_NAMESPACE vectors_of_16_bytes
#endif

namespace refrain::kernels::cpu {

// The width is part of every name, so that sources compiled for different processors can be linked
// into one program.
inline namespace REFRAIN_VECTOR_NAMESPACE {

inline constexpr int vector_bytes = REFRAIN_VECTOR_BYTES;

/// A positive count as an array extent.
constexpr std::size_t extent(int count) { return static_cast<std::size_t>(count); }

template <class T>
struct Lanes {
  static constexpr int count = vector_bytes / static_cast<int>(sizeof(T));
  typedef T Vector __attribute__((vector_size(vector_bytes)));
  typedef T Unaligned __attribute__((vector_size(vector_bytes), aligned(alignof(T)), may_alias));

  static Vector load(const T* from) { return *reinterpret_cast<const Unaligned*>(from); }
  static void store(T* to, Vector value) { *reinterpret_cast<Unaligned*>(to) = value; }
  // value - 0 is value, whatever its sign, and costs nothing; value + 0 is not.
  static Vector broadcast(T value) { return value - Vector{}; }

  /// Sum of the elements, as a fixed tree: the upper half is added to the lower one until one
  /// element is left.
  static T sum(Vector value) {
    return fold<count / 2>(
        value, [](Vector a, Vector b) { return a + b; }, all)[0];
  }
  /// The largest of elements that are not NaN.
  static T largest(Vector value) {
    return fold<count / 2>(
        value, [](Vector a, Vector b) { return a > b ? a : b; }, all)[0];
  }

 private:
  static constexpr std::make_integer_sequence<int, count> all{};

  template <int half, class Join, int... at>
  static Vector fold(Vector value, Join join, std::integer_sequence<int, at...>) {
    if constexpr (half == 0) {
      return value;
    } else {
      return fold<half / 2>(
          join(value, __builtin_shufflevector(value, value, ((at + half) % count)...)), join, all);
    }
  }
};

/// Lanes with vectors of one element.
template <class T>
struct Single {
  static constexpr int count = 1;
  using Vector = T;
  static T load(const T* from) { return *from; }
  static void store(T* to, T value) { *to = value; }
  static T broadcast(T value) { return value; }
  static T sum(T value) { return value; }
};

/// Calls body(Lanes<T>{}, i) for whole vectors of [0, count), then body(Single<T>{}, i) for the
/// remaining elements.
template <class T, class Body>
inline void for_lanes(std::int64_t count, Body&& body) {
  std::int64_t i = 0;
  for (; i + Lanes<T>::count <= count; i += Lanes<T>::count) body(Lanes<T>{}, i);
  for (; i < count; ++i) body(Single<T>{}, i);
}

/// Sum over [0, count) of term(L, i), in an order that depends only on `count`.
template <class T, class Term>
inline T sum_lanes(std::int64_t count, Term&& term) {
  typename Lanes<T>::Vector total{};
  std::int64_t i = 0;
  for (; i + Lanes<T>::count <= count; i += Lanes<T>::count) total += term(Lanes<T>{}, i);
  T rest = 0;
  for (; i < count; ++i) rest += term(Single<T>{}, i);
  return Lanes<T>::sum(total) + rest;
}

namespace detail {

/// Alternates elements of a and b, a0 b0 a1 b1 ..., from their first or from their second halves.
template <bool second, class Vector, int... at>
inline Vector interleave(Vector a, Vector b, std::integer_sequence<int, at...>) {
  constexpr int count = sizeof...(at);
  return __builtin_shufflevector(a, b, ((second ? count / 2 : 0) + at / 2 + (at % 2) * count)...);
}

}  // namespace detail

/// a0 + a_h, b0 + b_h, a1 + a_h+1, ... with h half the number of elements.
template <class T>
inline typename Lanes<T>::Vector add_by_turns(typename Lanes<T>::Vector a,
                                              typename Lanes<T>::Vector b) {
  constexpr auto all = std::make_integer_sequence<int, Lanes<T>::count>();
  return detail::interleave<false>(a, b, all) + detail::interleave<true>(a, b, all);
}

/// to[i * to_stride + j] = from[j * from_stride + i] for a square of as many rows as a vector has
/// elements. Each round interleaves rows i and i + half, which moves one bit of the row index into
/// the column index; log2(count) rounds.
template <class T>
inline void transpose_square(const T* from, std::int64_t from_stride, T* to,
                             std::int64_t to_stride) {
  using L = Lanes<T>;
  constexpr int count = L::count;
  typename L::Vector rows[extent(count)];
  for (int i = 0; i < count; ++i) rows[i] = L::load(from + i * from_stride);
  for (int left = count; left > 1; left /= 2) {
    typename L::Vector turned[extent(count)];
    for (int i = 0; i < count / 2; ++i) {
      turned[2 * i] = detail::interleave<false>(rows[i], rows[i + count / 2],
                                                std::make_integer_sequence<int, count>());
      turned[2 * i + 1] = detail::interleave<true>(rows[i], rows[i + count / 2],
                                                   std::make_integer_sequence<int, count>());
    }
    for (int i = 0; i < count; ++i) rows[i] = turned[i];
  }
  for (int i = 0; i < count; ++i) L::store(to + i * to_stride, rows[i]);
}

inline double exp(double x) { return std::exp(x); }
inline float exp(float x) { return std::exp(x); }

/// exp of each element, within 2 units in the last place for results in float's normal range; 0
/// below -87.3, +inf above 88.7.
inline Lanes<float>::Vector exp(Lanes<float>::Vector x) {
  using Vector = Lanes<float>::Vector;
  typedef std::uint32_t Integers __attribute__((vector_size(vector_bytes)));
  // n = round(x / ln 2): adding 1.5 * 2^23 leaves n in the low bits of the sum. r = x - n ln 2 in
  // two steps, |r| <= ln 2 / 2.
  const Vector magic = Lanes<float>::broadcast(12582912.0f);
  const Vector shifted = x * 1.44269504f + magic;
  const Vector n = shifted - magic;
  const Vector r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  // 1 + r + r^2 q(r), q fitted for the minimum relative error on the interval: 3.1e-9.
  Vector p = r * 1.3814500e-3f + 8.3687433e-3f;
  p = p * r + 4.1668393e-2f;
  p = p * r + 1.6666521e-1f;
  p = p * r + 4.9999994e-1f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  // Multiplies by 2^n, n in [-126, 128], by adding n to the exponent. The shift drops the other
  // bits of `shifted`.
  Integers bits;
  Integers power;
  std::memcpy(&bits, &p, sizeof bits);
  std::memcpy(&power, &shifted, sizeof power);
  bits += power << 23;
  Vector result;
  std::memcpy(&result, &bits, sizeof result);
  result = x < -87.33654f ? Vector{} : result;
  return x > 88.72283f ? Lanes<float>::broadcast(HUGE_VALF) : result;
}

inline Lanes<double>::Vector exp(Lanes<double>::Vector x) {
  Lanes<double>::Vector result{};
  for (int i = 0; i < Lanes<double>::count; ++i) result[i] = std::exp(x[i]);
  return result;
}

/// 1 / (1 + exp(-x)) for a vector or a scalar; saturates without NaN.
template <class V>
inline V sigmoid(V x) {
  return 1 / (1 + exp(-x));
}

inline double tanh(double x) { return std::tanh(x); }
inline float tanh(float x) { return std::tanh(x); }

/// Near zero Lambert's continued fraction (five levels: relative error 1e-9 at 0.6), the
/// exponential elsewhere.
inline Lanes<float>::Vector tanh(Lanes<float>::Vector x) {
  const Lanes<float>::Vector size = x < 0.0f ? -x : x;
  const auto z = x * x;
  const auto near = x * (945.0f + z * (105.0f + z)) / (945.0f + z * (420.0f + z * 15.0f));
  const auto e = exp(-2.0f * size);
  const auto far = (1.0f - e) / (1.0f + e);
  return size < 0.6f ? near : (x < 0.0f ? -far : far);
}

inline Lanes<double>::Vector tanh(Lanes<double>::Vector x) {
  for (int i = 0; i < Lanes<double>::count; ++i) x[i] = std::tanh(x[i]);
  return x;
}

/// x sigmoid(2 u) with u = sqrt(2/pi) (x + 0.044715 x^3): the tanh form of GELU without tanh's
/// cancellation.
template <class T, class V>
inline V gelu(V x) {
  constexpr T c = T(1.5957691216057307118);  // 2 sqrt(2 / pi)
  return x * sigmoid(c * (x + T(0.044715) * x * x * x));
}

/// d gelu(x) / dx.
template <class T, class V>
inline V gelu_derivative(V x) {
  constexpr T c = T(1.5957691216057307118);
  const V s = sigmoid(c * (x + T(0.044715) * x * x * x));
  const V slope = s + x * s * (1 - s) * (c * (1 + T(3 * 0.044715) * x * x));
  return s * (1 - s) == T(0) ? s : slope;  // there x^2 may overflow
}

}  // namespace REFRAIN_VECTOR_NAMESPACE
}  // namespace refrain::kernels::cpu
