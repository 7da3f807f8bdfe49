#pragma once
/// Orders of an epoch that need no memory.

#include <cstdint>

#include "refrain/core/export.hpp"

namespace refrain {

/// A permutation of the numbers 0 to count - 1 for every epoch, as a function of the seed, the
/// epoch and the place.
///
/// Blocks of 4,096 neighbouring numbers are permuted, and then the places within each window of 256
/// blocks. Batches of one window therefore read 1 M rows that are neighbours in 256 places of a
/// file, and no others. Up to 1 M numbers are permuted as a whole. Both permutations are networks
/// of Feistel (J. Black, P. Rogaway, "Ciphers with arbitrary finite domains", 2002) over the words
/// of philox(): the smallest power of two that holds all numbers is permuted, and a number outside
/// is permuted again until it is inside.
class REFRAIN_API BlockOrder {
 public:
  static constexpr std::int64_t block = 4096;  ///< numbers in a block
  static constexpr std::int64_t window = 256;  ///< blocks in a window

  /// Throws OptionError unless 0 <= count <= max_rows.
  BlockOrder(std::int64_t count, std::uint64_t seed);

  std::int64_t count() const noexcept { return count_; }

  /// The number at a place. Throws OptionError unless epoch >= 0 and 0 <= place < count().
  std::int64_t at(std::int64_t epoch, std::int64_t place) const;

 private:
  std::int64_t count_;
  std::uint64_t seed_;
};

}  // namespace refrain
