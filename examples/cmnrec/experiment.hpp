#pragma once
/// Training one model and measuring it.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "cmnrec/data.hpp"
#include "cmnrec/network.hpp"
#include "common/ranks_file.hpp"
#include "common/training.hpp"
#include "refrain/train/metrics.hpp"

namespace refrain::cmnrec {

/// Cutoffs of all figures.
inline constexpr std::int64_t cutoffs[] = {5, 10, 20};

/// Ranks the last item of each sequence among all items (first element) and among the items outside
/// the history (second element). `ranks`: the processes that do so together; null for one.
std::vector<RankingMetrics> measure(NextItemModel& model, const HeldOut& part,
                                    const OnRanks& on_ranks = {}, Communicator* ranks = nullptr);

/// measure() of the test part by the processes of the run, which also appends the ranks to their
/// file.
std::vector<RankingMetrics> measure_test(NextItemModel& model, const HeldOut& test,
                                         std::span<const std::string> users,
                                         const std::string& title, const examples::RunOptions& run,
                                         std::uint64_t seed, examples::RanksFile& ranks);

/// The model that the options of train describe.
ModelOptions model_of(const Options& options);

/// "NDCG@10" or "held-out loss".
std::string metric_name(StopOn stop_on);

/// The training of a model. Model and data must outlive it.
examples::Training model_training(NextItemModel& model, const Dataset& data, const Options& options,
                                  std::uint64_t seed);

/// Trains a model; afterwards it holds the parameters that were best on the validation part, or the
/// latest ones when the run was interrupted.
examples::TrainReport train_model(NextItemModel& model, const Dataset& data, const Options& options,
                                  const examples::TrainPlace& place);

/// Median time, in milliseconds, to score one batch of test sequences.
double prediction_ms(NextItemModel& model, const HeldOut& test, std::int64_t batch);

}  // namespace refrain::cmnrec
