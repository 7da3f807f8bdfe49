#pragma once
/// Training one model and measuring it.

#include <cstdint>
#include <string>

#include "cmnrec/data.hpp"
#include "cmnrec/network.hpp"
#include "common/training.hpp"
#include "refrain/train/metrics.hpp"

namespace refrain::cmnrec {

using examples::TrainPlace;
using examples::TrainReport;

/// Cutoffs of all figures.
inline constexpr std::int64_t cutoffs[] = {5, 10, 20};

/// How the target of the last step ranks, of two protocols.
struct Figures {
  RankingMetrics all;           ///< among all items
  RankingMetrics without_seen;  ///< among those that are not in the history

  const RankingMetrics& of(bool leave_out_seen) const {
    return leave_out_seen ? without_seen : all;
  }
};

/// Ranks the last target of each row.
Figures measure(Recommender& recommender, const PreparedData& data,
                std::span<const std::int64_t> rows, const Vocabulary& vocabulary,
                std::int64_t length);

/// Trains a model; afterwards it holds the parameters that were best on the validation part, or the
/// latest ones when the run was interrupted.
TrainReport train_model(Recommender& recommender, const PreparedData& data,
                        const Vocabulary& vocabulary, const Options& options,
                        const TrainPlace& place);

/// Milliseconds that scoring one batch of --prediction-batch test sequences takes: the median of
/// several runs.
double prediction_ms(Recommender& recommender, const PreparedData& data, const Options& options);

/// "MRR@5 0.0123  HR@5 ...", one line a cutoff.
std::string text(const RankingMetrics& metrics);

/// Prints what the data came to.
void print_data(const PreparedData& data, const Vocabulary& vocabulary, const DataOptions& options);

}  // namespace refrain::cmnrec
