#pragma once
/// Training, validation and test parts.

#include <cstdint>
#include <vector>

#include "refrain/core/export.hpp"
#include "refrain/data/ragged_ids.hpp"

namespace refrain {

/// Fractions of a random split; they sum to 1.
struct SplitFractions {
  double train = 0.80;
  double valid = 0.02;
  double test = 0.18;
};

/// Row numbers of each part, ascending.
struct Split {
  std::vector<std::int64_t> train;
  std::vector<std::int64_t> valid;
  std::vector<std::int64_t> test;
};

/// Assigns each of `count` rows to one part at random; the same seed gives the same split. The
/// sizes of the validation and test parts are their fractions of `count`, rounded to the nearest
/// integer; the training part has the other rows. Split whole users before cutting them into
/// pieces, so that no user is in two parts. Throws OptionError when a fraction is negative or their
/// sum is not 1.
REFRAIN_API Split split_random(std::int64_t count, SplitFractions fractions, std::uint64_t seed);

/// Sequences whose last item is predicted from the items before it, and the row that each came
/// from.
struct HeldOut {
  RaggedIds rows;
  std::vector<std::int64_t> origin;
  /// True when whole sequences are held out, so that no item of them is trained on and a loss may
  /// count every position; false when only the last items are held out.
  bool is_unseen = false;
};

/// Parts by time: training has all but the last two items of each row, validation predicts the
/// second-to-last item, test the last.
struct LeaveLastOut {
  RaggedIds train;  ///< as many rows as the input
  HeldOut valid;
  HeldOut test;
};

/// Rows of fewer than three items are in the training part as a whole, and in no other part.
REFRAIN_API LeaveLastOut split_leave_last_out(const RaggedIds& rows);

}  // namespace refrain
