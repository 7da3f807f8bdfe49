#pragma once
/// Philox4x32-10 for consecutive positions: the words of refrain::philox (core/random.hpp), one
/// position in each 64-bit lane of a vector.

#include <cstdint>
#include <cstring>
#include <utility>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "kernels/simd.hpp"

namespace refrain::kernels::cpu {
inline namespace REFRAIN_VECTOR_NAMESPACE {
namespace detail {

using WideWords = typename Lanes<std::uint64_t>::Vector;

/// The 64-bit products of the low 32 bits of each lane. Compilers multiply whole lanes, which takes
/// three times as long.
inline WideWords multiply_low_words(WideWords a, WideWords b) {
#if defined(__AVX512F__)
  // The form without a mask is taken for an uninitialized value by GCC 12.
  return (WideWords)_mm512_maskz_mul_epu32(0xFF, (__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
  return (WideWords)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__SSE2__) && REFRAIN_VECTOR_BYTES == 16
  return (WideWords)_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
  constexpr std::uint64_t low = 0xFFFFFFFF;
  return (a & low) * (b & low);
#endif
}

}  // namespace detail

/// Number of positions that philox_words() computes.
inline constexpr std::int64_t philox_positions = Lanes<std::uint64_t>::count;

/// words[4 i + k] = philox(seed, stream, position + i)[k] for i < philox_positions.
inline void philox_words(std::uint64_t seed, std::uint64_t stream, std::uint64_t position,
                         std::uint32_t* words) {
  using detail::WideWords;
  using L = Lanes<std::uint64_t>;
  WideWords c0;
  for (int i = 0; i < L::count; ++i) c0[i] = position + static_cast<std::uint64_t>(i);
  // Only the low 32 bits of c0 and c2 are multiplied; the high ones hold the rest of a product.
  WideWords c1 = c0 >> 32;
  WideWords c2 = L::broadcast(stream & 0xFFFFFFFF);
  WideWords c3 = L::broadcast(stream >> 32);
  const WideWords factor0 = L::broadcast(0xD2511F53);
  const WideWords factor1 = L::broadcast(0xCD9E8D57);
  std::uint32_t key0 = static_cast<std::uint32_t>(seed);
  std::uint32_t key1 = static_cast<std::uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const WideWords product0 = detail::multiply_low_words(factor0, c0);
    const WideWords product1 = detail::multiply_low_words(factor1, c2);
    c0 = (product1 >> 32) ^ c1 ^ std::uint64_t{key0};
    c1 = product1;
    c2 = (product0 >> 32) ^ c3 ^ std::uint64_t{key1};
    c3 = product0;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  constexpr std::uint64_t low = 0xFFFFFFFF;
  const WideWords first = (c0 & low) | (c1 << 32);
  const WideWords second = (c2 & low) | (c3 << 32);
  constexpr auto all = std::make_integer_sequence<int, L::count>();
  const WideWords halves[2] = {detail::interleave<false>(first, second, all),
                               detail::interleave<true>(first, second, all)};
  std::memcpy(words, halves, sizeof halves);
}

}  // namespace REFRAIN_VECTOR_NAMESPACE
}  // namespace refrain::kernels::cpu
