#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "refrain/core/export.hpp"

namespace refrain::detail {

/// XXH64 of a stream of bytes (Y. Collet, "xxHash fast digest algorithm", version 0.1.1). It
/// detects accidental changes, not forgery.
class REFRAIN_API Xxh64 {
 public:
  explicit Xxh64(std::uint64_t seed = 0) noexcept;

  void update(const void* bytes, std::size_t count) noexcept;

  /// The hash of all bytes so far; more may follow.
  std::uint64_t digest() const noexcept;

 private:
  void take_stripe(const unsigned char* stripe) noexcept;

  std::array<std::uint64_t, 4> lanes_;
  std::array<unsigned char, 32> buffer_{};
  std::size_t buffered_ = 0;
  std::uint64_t total_ = 0;
  std::uint64_t seed_;
};

}  // namespace refrain::detail
