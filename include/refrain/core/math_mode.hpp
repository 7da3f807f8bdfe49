#pragma once
/// How exactly a GPU multiplies f32 numbers.

#include <cstdint>

#include "refrain/core/export.hpp"

namespace refrain {

/// Arithmetic of f32 products on Device::cuda. Sums are always f32; f64 products and the CPU are
/// always exact.
enum class MathMode : std::uint8_t {
  exact,  ///< f32 factors, 24 bits: results agree with the CPU's up to the order of sums
  tf32,   ///< tensor cores, factors rounded to 11 bits: a product is off by up to 2^-11 of its
          ///< factors' sizes
  bf16    ///< tensor cores, factors rounded to 8 bits, or to 11 where NVIDIA's library prefers that
};

constexpr const char* name(MathMode mode) noexcept {
  return mode == MathMode::exact ? "exact" : mode == MathMode::tf32 ? "tf32" : "bf16";
}

/// The mode of the process; exact at first.
REFRAIN_API MathMode math_mode() noexcept;
REFRAIN_API void set_math_mode(MathMode mode) noexcept;

/// Sets the mode for one scope. The mode belongs to the process: not for scopes that overlap in two
/// threads.
class MathScope {
 public:
  explicit MathScope(MathMode mode) noexcept : before_(math_mode()) { set_math_mode(mode); }
  ~MathScope() { set_math_mode(before_); }
  MathScope(const MathScope&) = delete;
  MathScope& operator=(const MathScope&) = delete;

 private:
  MathMode before_;
};

}  // namespace refrain
