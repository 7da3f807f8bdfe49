#pragma once
/// Random numbers that depend only on seed, stream and position, so that any thread, device or
/// resumed run generates the same numbers.

#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>

#include "refrain/core/error.hpp"
#include "refrain/core/parallel.hpp"
#include "refrain/core/tensor.hpp"

namespace refrain {

/// Philox4x32-10: a keyed bijection of a 128-bit counter (Salmon et al., "Parallel random numbers:
/// as easy as 1, 2, 3", 2011). Returns four 32-bit words; key = seed, counter = (position, stream).
constexpr std::array<std::uint32_t, 4> philox(std::uint64_t seed, std::uint64_t stream,
                                              std::uint64_t position) noexcept {
  std::uint32_t key0 = static_cast<std::uint32_t>(seed);
  std::uint32_t key1 = static_cast<std::uint32_t>(seed >> 32);
  std::array<std::uint32_t, 4> c{
      static_cast<std::uint32_t>(position), static_cast<std::uint32_t>(position >> 32),
      static_cast<std::uint32_t>(stream), static_cast<std::uint32_t>(stream >> 32)};
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = std::uint64_t{0xD2511F53} * c[0];
    const std::uint64_t product1 = std::uint64_t{0xCD9E8D57} * c[2];
    c = {static_cast<std::uint32_t>(product1 >> 32) ^ c[1] ^ key0,
         static_cast<std::uint32_t>(product1),
         static_cast<std::uint32_t>(product0 >> 32) ^ c[3] ^ key1,
         static_cast<std::uint32_t>(product0)};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return c;
}

/// The position of a Random, from which it resumes bit for bit.
struct RandomState {
  std::uint64_t seed = 0;
  std::uint64_t stream = 0;
  std::uint64_t position = 0;  ///< in blocks of four words
};

/// A stream of random numbers. Each draw of a scalar uses one block, which keeps positions
/// predictable. Copying a Random copies its position. Must not be shared between threads; give each
/// thread its own stream with split().
class Random {
 public:
  explicit Random(std::uint64_t seed, std::uint64_t stream = 0) noexcept
      : state_{seed, stream, 0} {}
  explicit Random(RandomState state) noexcept : state_(state) {}

  const RandomState& state() const noexcept { return state_; }

  /// An independent stream of the same seed. fill_truncated_normal() redraws from streams 1, 2,
  /// ...; in combination with it use split(bits()).
  Random split(std::uint64_t stream) const noexcept {
    return Random(state_.seed, mix(state_.stream, stream));
  }

  /// 32 uniform bits.
  std::uint32_t bits() noexcept { return philox(state_.seed, state_.stream, state_.position++)[0]; }

  /// Uniform in [0, 1), 53 bits.
  double uniform() noexcept {
    const auto words = philox(state_.seed, state_.stream, state_.position++);
    return to_unit(words[0], words[1]);
  }

  /// Uniform integer in [0, bound), without bias.  Throws OptionError unless bound > 0.
  std::int64_t below(std::int64_t bound) {
    if (bound <= 0)
      throw OptionError(detail::concat("Random::below: expected a positive bound, got ", bound));
    const std::uint64_t range = static_cast<std::uint64_t>(bound);
    const std::uint64_t limit = ~std::uint64_t{0} - (~std::uint64_t{0} % range + 1) % range;
    for (;;) {
      const auto words = philox(state_.seed, state_.stream, state_.position++);
      const std::uint64_t value = (std::uint64_t{words[0]} << 32) | words[1];
      if (value <= limit) return static_cast<std::int64_t>(value % range);
    }
  }

  /// Standard normal distribution (Box-Muller).
  double normal() noexcept {
    const auto words = philox(state_.seed, state_.stream, state_.position++);
    return to_normal(words);
  }

  /// Normal distribution with standard deviation `deviation`, redrawn until within two deviations
  /// (TensorFlow's truncated normal).
  double truncated_normal(double deviation) noexcept {
    for (;;) {
      const double value = normal();
      if (value >= -2 && value <= 2) return deviation * value;
    }
  }

  /// Fills a CPU tensor of f32 or f64 with normal numbers. Element i uses block position + i, at
  /// any thread count.
  void fill_normal(Tensor& tensor, double deviation = 1.0) {
    fill(tensor, [deviation](const std::array<std::uint32_t, 4>& words) {
      return deviation * to_normal(words);
    });
  }

  /// Fills a CPU tensor of f32 or f64 with uniform numbers in [low, high).
  void fill_uniform(Tensor& tensor, double low, double high) {
    fill(tensor, [low, high](const std::array<std::uint32_t, 4>& words) {
      return low + (high - low) * to_unit(words[0], words[1]);
    });
  }

  /// Fills a CPU tensor of f32 or f64 with truncated normal numbers. A rejected draw of element i
  /// is replaced from a separate stream, so elements do not depend on the order of evaluation.
  void fill_truncated_normal(Tensor& tensor, double deviation) {
    const std::uint64_t first = state_.position;
    const std::uint64_t seed = state_.seed;
    const std::uint64_t stream = state_.stream;
    for_elements(tensor, [=](std::int64_t i) {
      double value = to_normal(philox(seed, stream, first + static_cast<std::uint64_t>(i)));
      for (std::uint64_t retry = 1; value < -2 || value > 2; ++retry) {
        value = to_normal(philox(seed, mix(stream, retry), first + static_cast<std::uint64_t>(i)));
      }
      return deviation * value;
    });
  }

  /// Fisher-Yates shuffle.
  template <class Range>
  void shuffle(Range& range) {
    for (std::int64_t i = static_cast<std::int64_t>(range.size()) - 1; i > 0; --i) {
      using std::swap;
      swap(range[static_cast<std::size_t>(i)], range[static_cast<std::size_t>(below(i + 1))]);
    }
  }

 private:
  static constexpr std::uint64_t mix(std::uint64_t a, std::uint64_t b) noexcept {
    std::uint64_t z = a + 0x9E3779B97F4A7C15ull * (b + 1);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
  }
  static constexpr double to_unit(std::uint32_t high, std::uint32_t low) noexcept {
    const std::uint64_t bits = (std::uint64_t{high} << 21) ^ (low >> 11);
    return static_cast<double>(bits & ((std::uint64_t{1} << 53) - 1)) * 0x1.0p-53;
  }
  static double to_normal(const std::array<std::uint32_t, 4>& words) noexcept {
    const double radius = std::sqrt(-2.0 * std::log(1.0 - to_unit(words[0], words[1])));
    return radius * std::cos(2.0 * std::numbers::pi * to_unit(words[2], words[3]));
  }

  template <class Make>
  void fill(Tensor& tensor, Make make) {
    const std::uint64_t first = state_.position;
    const std::uint64_t seed = state_.seed;
    const std::uint64_t stream = state_.stream;
    for_elements(tensor, [=](std::int64_t i) {
      return make(philox(seed, stream, first + static_cast<std::uint64_t>(i)));
    });
  }

  template <class Value>
  void for_elements(Tensor& tensor, Value value) {
    if (!is_floating(tensor.dtype()))
      throw DTypeError(detail::concat("Random: expected f32 or f64, got ", tensor.dtype()));
    const auto run = [&]<class T>(T* out) {
      parallel_for(tensor.numel(), 16384, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) out[i] = static_cast<T>(value(i));
      });
    };
    tensor.dtype() == DType::f32 ? run(tensor.data<float>()) : run(tensor.data<double>());
    state_.position += static_cast<std::uint64_t>(tensor.numel());
  }

  RandomState state_;
};

}  // namespace refrain
