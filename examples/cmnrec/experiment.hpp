#pragma once
/// Training one model and measuring it.

#include <cstdint>
#include <string>
#include <vector>

#include "cmnrec/data.hpp"
#include "cmnrec/network.hpp"
#include "common/training.hpp"
#include "refrain/train/metrics.hpp"

namespace refrain::cmnrec {

/// Cutoffs of all figures.
inline constexpr std::int64_t cutoffs[] = {5, 10, 20};

/// Ranks the last item of each sequence among all items (first element) and among the items outside
/// the history (second element).
std::vector<RankingMetrics> measure(NextItemModel& model, const HeldOut& part);

/// The model that the options of train describe.
ModelOptions model_of(const Options& options);

/// "NDCG@10" or "held-out loss".
std::string metric_name(StopOn stop_on);

/// Trains a model; afterwards it holds the parameters that were best on the validation part, or the
/// latest ones when the run was interrupted.
examples::TrainReport train_model(NextItemModel& model, const Dataset& data, const Options& options,
                                  const examples::TrainPlace& place);

/// Median time, in milliseconds, to score one batch of test sequences.
double prediction_ms(NextItemModel& model, const HeldOut& test, std::int64_t batch);

}  // namespace refrain::cmnrec
