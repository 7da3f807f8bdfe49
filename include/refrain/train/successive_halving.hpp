#pragma once
/// Successive halving: a choice among settings, of which the better ones are trained for longer.

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "refrain/core/export.hpp"

namespace refrain {

/// A candidate after a round.
struct HalvingCandidate {
  std::int64_t number = 0;  ///< from 0
  double figure = 0;        ///< its best figure so far; not finite: the candidate is dropped
  bool is_kept = false;     ///< in the next round; after the last round: chosen
};

/// A round of successive_halving().
struct HalvingRound {
  std::int64_t round = 0;                      ///< from 0
  std::int64_t epochs = 0;                     ///< of each candidate, over all rounds
  std::vector<HalvingCandidate> candidates{};  ///< by their numbers
};

/// Trains a candidate until it has had `epochs` epochs over all rounds, and returns the best figure
/// of all its epochs: NaN if its training has diverged, nullopt to end the search.
using TrainCandidate =
    std::function<std::optional<double>(std::int64_t candidate, std::int64_t epochs)>;

/// Options of successive_halving().
struct SuccessiveHalvingOptions {
  std::int64_t candidates = 0;    ///< n
  std::int64_t first_epochs = 3;  ///< epochs of the first round
  std::int64_t max_epochs = 0;    ///< a round of this many epochs is the last one; 0: no limit
  /// Epochs of the round between the last two candidates, such as those of a whole training; 0: as
  /// many as its turn gives.
  std::int64_t final_epochs = 0;
  bool larger_is_better = true;                            ///< direction of the figure
  std::function<void(const HalvingRound&)> on_round = {};  ///< called after each round
};

/// The number of the best of n candidates:
///
///   round r trains each candidate of the field for min(first_epochs 2^r, max_epochs) epochs in
///   total, the last two for final_epochs, and keeps the best ceil(field / 2), in the last round
///   one, until one is left.
///
/// Candidates are trained in the order of their numbers, and the smaller number wins a tie, so the
/// choice depends only on the figures. A candidate whose figure is not finite is dropped; when none
/// of a round is left, the best of those that were left out before is chosen. A single candidate is
/// not trained. Returns nullopt when `train` does. Throws OptionError unless candidates >= 1,
/// first_epochs >= 1, max_epochs >= 0 and final_epochs >= 0, Error when no candidate has a finite
/// figure, and the exceptions of the functions. Source: Jamieson and Talwalkar 2016, algorithm 1.
REFRAIN_API std::optional<std::int64_t> successive_halving(const SuccessiveHalvingOptions& options,
                                                           const TrainCandidate& train);

}  // namespace refrain
