#pragma once
/// Precision of f32 products on a GPU.

#include <cstdint>

#include "refrain/core/export.hpp"

namespace refrain {

/// Arithmetic of f32 products on Device::cuda. Sums are always f32; f64 products and products on
/// the CPU are always exact.
enum class MathMode : std::uint8_t {
  exact,  ///< f32 factors, 24 bits: results agree with the CPU up to the order of sums
  /// tensor cores, factors rounded to 11 bits: the relative error of a product is up to 2^-11 for
  /// each factor
  tf32,
  bf16  ///< tensor cores, factors rounded to 8 bits, or to 11 where cuBLAS chooses so
};

constexpr const char* name(MathMode mode) noexcept {
  return mode == MathMode::exact ? "exact" : mode == MathMode::tf32 ? "tf32" : "bf16";
}

/// The mode of the process; initially exact.
REFRAIN_API MathMode math_mode() noexcept;
/// Sets the mode of the process.
REFRAIN_API void set_math_mode(MathMode mode) noexcept;

/// Sets the mode for one scope. The mode belongs to the process, so scopes of different threads
/// must not overlap.
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
