#include "refrain/data/splits.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "refrain/core/random.hpp"

namespace refrain {

Split split_random(std::int64_t count, SplitFractions fractions, std::uint64_t seed) {
  const double sum = fractions.train + fractions.valid + fractions.test;
  if (!(fractions.train >= 0 && fractions.valid >= 0 && fractions.test >= 0 &&
        std::abs(sum - 1) <= 1e-9)) {
    throw OptionError(detail::concat("split_random: expected shares from 0 that sum to 1, got ",
                                     fractions.train, ", ", fractions.valid, ", ", fractions.test));
  }
  if (count < 0 || count > max_rows)
    throw OptionError(
        detail::concat("split_random: expected a count from 0 to ", max_rows, ", got ", count));
  constexpr std::uint64_t split_stream = 0x5350'4C49'54;
  std::vector<std::int64_t> order(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  Random(seed, split_stream).shuffle(order);
  const auto share = [&](double fraction) {
    return static_cast<std::ptrdiff_t>(std::llround(fraction * static_cast<double>(count)));
  };
  const std::ptrdiff_t valid = share(fractions.valid);
  const std::ptrdiff_t held_out =
      std::min(valid + share(fractions.test), static_cast<std::ptrdiff_t>(count));
  Split split;
  split.valid.assign(order.begin(), order.begin() + valid);
  split.test.assign(order.begin() + valid, order.begin() + held_out);
  split.train.assign(order.begin() + held_out, order.end());
  for (std::vector<std::int64_t>* part : {&split.train, &split.valid, &split.test})
    std::sort(part->begin(), part->end());
  return split;
}

LeaveLastOut split_leave_last_out(const RaggedIds& rows) {
  LeaveLastOut split;
  for (std::int64_t row = 0; row < rows.rows(); ++row) {
    const std::size_t ids = rows[row].size();
    if (ids < 3) {
      split.train.push_row(rows, row);
      continue;
    }
    split.train.push_part(rows, row, 0, ids - 2);
    split.valid.rows.push_part(rows, row, 0, ids - 1);
    split.valid.origin.push_back(row);
    split.test.rows.push_row(rows, row);
    split.test.origin.push_back(row);
  }
  return split;
}

}  // namespace refrain
