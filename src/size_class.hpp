#pragma once
/// Size classes of the memory pools: four classes for each power of two, so that at most a fifth of
/// a block is unused.

#include <bit>
#include <cstddef>

#include "refrain/core/error.hpp"

namespace refrain {

struct SizeClass {
  static constexpr std::size_t count = 4 * 64;

  std::size_t index;
  std::size_t bytes;

  /// The class of a request. Requests of up to `smallest` bytes share one class. Throws ShapeError
  /// for sizes beyond the address space.
  static SizeClass of(std::size_t bytes, std::size_t smallest) {
    const std::size_t wanted = bytes < smallest ? smallest : bytes;
    if (wanted > (std::size_t{1} << 62))
      throw ShapeError(
          detail::concat("memory pool: expected a block of at most 2^62 bytes, got ", wanted));
    const std::size_t power = static_cast<std::size_t>(std::bit_width(wanted - 1)) -
                              1;  // 2^power < wanted <= 2^(power+1)
    const std::size_t base = std::size_t{1} << power;
    const std::size_t step = base / 4;
    const std::size_t quarter = (wanted - base + step - 1) / step;  // 1..4
    return {power * 4 + quarter - 1, base + quarter * step};
  }
};

}  // namespace refrain
