#pragma once
/// Training, validation and test parts.

#include <cstdint>
#include <vector>

#include "refrain/core/export.hpp"
#include "refrain/data/ragged_ids.hpp"

namespace refrain {

/// Shares of a random split; they sum to 1.
struct SplitFractions {
  double train = 0.80;
  double valid = 0.02;
  double test = 0.18;
};

/// Row numbers of each part, rising.
struct Split {
  std::vector<std::int64_t> train;
  std::vector<std::int64_t> valid;
  std::vector<std::int64_t> test;
};

/// Each of `count` rows goes to one part at random; the same seed gives the same split. The
/// validation and test parts have their share of `count` rounded to the nearest whole number, the
/// training part has the rest. Split whole users before cutting them into pieces, so that no user
/// is in two parts. Throws OptionError when a share is negative or their sum is not 1.
REFRAIN_API Split split_random(std::int64_t count, SplitFractions fractions, std::uint64_t seed);

/// Sequences whose last item is to be predicted from those before it, and the row that each came
/// from.
struct HeldOut {
  RaggedIds rows;
  std::vector<std::int64_t> origin;
  /// The whole sequences are held out: no item of them is trained on, so that a loss may count
  /// every position. Otherwise only their last items are.
  bool is_unseen = false;
};

/// Parts in time: training has all but each row's last two items, validation predicts the last but
/// one, test the last.
struct LeaveLastOut {
  RaggedIds train;  ///< as many rows as came in
  HeldOut valid;
  HeldOut test;
};

/// Rows of fewer than three items stay whole in the training part and are neither validated nor
/// tested.
REFRAIN_API LeaveLastOut split_leave_last_out(const RaggedIds& rows);

}  // namespace refrain
