#pragma once
/// --search: the choice of the learning rate, and of the dropout, by successive halving on the
/// figure of the validation part that early stopping uses.

#include <functional>
#include <memory>
#include <optional>

#include "common/search_record.hpp"
#include "common/training.hpp"

namespace refrain::examples {

/// A network of a candidate and its training.
struct SearchedTraining {
  std::shared_ptr<Module> network;
  Training training;
};

/// Throws OptionError if a search has too few examples: it needs two to train on, and one to
/// validate on.
void expect_searchable(std::int64_t training, std::int64_t validation);

/// Trains the candidates of `options`, whose networks and trainings make() creates, and prints and
/// logs each round and the choice. `train` has the other options of the training; all candidates
/// follow its schedule for the whole run. If the place's state file exists, the result of the
/// search that preceded the saved run is returned instead. Returns nullopt when the search was
/// interrupted. Throws Error when all candidates diverge, and DataError if the state file belongs
/// to a run with another search.
std::optional<SearchRecord> search(
    const SearchOptions& options, const TrainOptions& train, const TrainPlace& place,
    const std::function<SearchedTraining(const SearchCandidate&)>& make);

/// Adds the record to a place, so that the training state contains it and a resumed run has the
/// same search.
void keep_search(TrainPlace& place, const SearchRecord& record);

/// The outcome of a command whose search was interrupted; prints a message.
Outcome interrupted_search(const std::string& label, const std::string& out);

}  // namespace refrain::examples
