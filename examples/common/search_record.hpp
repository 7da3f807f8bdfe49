#pragma once
/// The result of --search: the candidates, their figures and the choice, as model files and
/// training states store it.

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "common/json_fields.hpp"
#include "common/options.hpp"

namespace refrain::examples {

/// A setting that a search tries.
struct SearchCandidate {
  double learning_rate = 0;
  std::optional<double> dropout = {};  ///< empty: the dropout is not searched
  std::int64_t epochs = 0;             ///< up to which its last round was to train it
  /// Its best figure on the validation part; NaN: its training diverged.
  double figure = std::numeric_limits<double>::quiet_NaN();

  /// "learning rate 0.001, dropout 0.2"
  std::string text() const;
};

struct SearchRecord {
  std::string metric = {};  ///< name of the figure
  std::int64_t first_epochs = 0;
  std::vector<SearchCandidate> candidates = {};
  std::size_t chosen = 0;  ///< index in `candidates`

  const SearchCandidate& choice() const { return candidates.at(chosen); }
  /// The candidates and the epochs of the first round, for the setting of a run.
  std::string setting() const;
  /// "chose learning rate 0.001 among 4 candidates: best held-out loss 3.2410 in at most 12 epochs"
  std::string summary() const;
};

/// The learning rates, in their order, each with all dropouts. Throws OptionError unless there are
/// two candidates or more, all different.
std::vector<SearchCandidate> candidates_of(const SearchOptions& options);

nlohmann::json json_of(const SearchRecord& record);
/// Throws DataError for an object that json_of() cannot have written.
SearchRecord search_record(const JsonFields& fields);

}  // namespace refrain::examples
