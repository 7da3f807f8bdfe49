#include "refrain/data/block_order.hpp"

#include <algorithm>
#include <bit>

#include "refrain/core/random.hpp"
#include "refrain/data/ragged_ids.hpp"

namespace refrain {
namespace {

/// differs from the stream numbers that other components split off the same seed
constexpr std::uint64_t order_stream = 0x4F52'4445'52;

/// A permutation of the numbers 0 to count - 1 that a seed and a stream choose.
class FeistelNetwork {
 public:
  FeistelNetwork(std::uint64_t count, std::uint64_t seed, std::uint64_t stream) noexcept
      : count_(count), seed_(seed), stream_(stream) {
    const int bits = static_cast<int>(std::bit_width(count - 1));
    low_bits_ = bits / 2;
    rounds_ = bits < 12 ? 24 : 12;  // small halves mix less in a round
    low_mask_ = (std::uint64_t{1} << low_bits_) - 1;
    high_mask_ = (std::uint64_t{1} << (bits - low_bits_)) - 1;
  }

  std::uint64_t operator()(std::uint64_t number) const noexcept {
    do {
      std::uint64_t low = number & low_mask_;
      std::uint64_t high = number >> low_bits_;
      for (std::uint64_t round = 0; round < rounds_; round += 2) {
        high ^= word(round, low) & high_mask_;
        low ^= word(round + 1, high) & low_mask_;
      }
      number = high << low_bits_ | low;
    } while (number >= count_);
    return number;
  }

  /// The number that operator() takes to `number`.
  std::uint64_t inverse(std::uint64_t number) const noexcept {
    do {
      std::uint64_t low = number & low_mask_;
      std::uint64_t high = number >> low_bits_;
      for (std::uint64_t round = rounds_; round > 0; round -= 2) {
        low ^= word(round - 1, high) & low_mask_;
        high ^= word(round - 2, low) & high_mask_;
      }
      number = high << low_bits_ | low;
    } while (number >= count_);
    return number;
  }

 private:
  std::uint64_t word(std::uint64_t round, std::uint64_t half) const noexcept {
    return philox(seed_, stream_, round << 32 | half)[0];
  }

  std::uint64_t count_;
  std::uint64_t seed_;
  std::uint64_t stream_;
  int low_bits_;
  std::uint64_t rounds_;
  std::uint64_t low_mask_;
  std::uint64_t high_mask_;
};

}  // namespace

BlockOrder::BlockOrder(std::int64_t count, std::uint64_t seed) : count_(count), seed_(seed) {
  if (count < 0 || count > max_rows)
    throw OptionError(
        detail::concat("BlockOrder: expected a count from 0 to ", max_rows, ", got ", count));
}

std::int64_t BlockOrder::at(std::int64_t epoch, std::int64_t place) const {
  if (epoch < 0 || place < 0 || place >= count_)
    throw OptionError(detail::concat("BlockOrder: expected epoch >= 0 and 0 <= place < ", count_,
                                     ", got place ", place, " of epoch ", epoch));
  constexpr std::int64_t window_places = block * window;
  const Random epochs = Random(seed_, order_stream).split(static_cast<std::uint64_t>(epoch));
  const auto network = [&](std::int64_t count, std::int64_t number) {
    return FeistelNetwork(static_cast<std::uint64_t>(count), seed_,
                          epochs.split(static_cast<std::uint64_t>(number)).state().stream);
  };
  const std::int64_t number = place / window_places;
  const std::int64_t begin = number * window_places;
  const std::int64_t places = std::min(window_places, count_ - begin);
  // The place before the window was permuted.
  const std::int64_t inner = begin + static_cast<std::int64_t>(network(places, number + 1)(
                                         static_cast<std::uint64_t>(place - begin)));
  const std::int64_t blocks = (count_ + block - 1) / block;
  const FeistelNetwork order = network(blocks, 0);
  // The last block may be shorter; the blocks behind it in the order begin earlier.
  const std::int64_t missing = blocks * block - count_;
  const std::int64_t end_of_last =
      (static_cast<std::int64_t>(order.inverse(static_cast<std::uint64_t>(blocks - 1))) + 1) *
          block -
      missing;
  const std::int64_t aligned = inner < end_of_last ? inner : inner + missing;
  const std::int64_t chosen =
      static_cast<std::int64_t>(order(static_cast<std::uint64_t>(aligned / block)));
  return chosen * block + aligned % block;
}

}  // namespace refrain
