#pragma once
/// Finished runs of a comparison, in memory and as a file of JSON lines.

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cmnrec/options.hpp"
#include "refrain/train/reports.hpp"

namespace refrain::cmnrec {

/// "MRR@5" and so on.
using Figures = std::map<std::string, double>;

/// One model, trained with one seed and measured.
struct Run {
  std::string key;         ///< everything that the figures depend on, as JSON text
  std::string title;       ///< of the model
  std::int64_t slots = 0;  ///< m; 0: the model has none
  std::uint64_t seed = 0;
  std::int64_t parameters = 0;
  std::int64_t epochs = 0;
  double seconds_per_epoch = 0;  ///< the median epoch; 0: nothing is trained
  double prediction_ms = 0;      ///< of one batch
  std::int64_t prediction_batch = 0;
  std::string metric = {};  ///< of the curve's validation
  std::vector<EpochReport> curve = {};
  std::array<Figures, 2> figures = {};  ///< ranked among all items; without those of the history

  /// "CmnRec TSC m=4"
  std::string label() const { return slots > 0 ? title + " m=" + std::to_string(slots) : title; }
};

/// What the figures of a run depend on: data, model, training and, for its times, threads.
std::string run_key(const ModelOptions& model, const Options& options, std::uint64_t fingerprint,
                    std::uint64_t seed);

/// Runs on a file; without a path, only in memory.
class Results {
 public:
  /// Reads what the file has. A last line that was cut off is passed over with a warning, and gone
  /// when a run is added. Throws DataError for other damage.
  explicit Results(std::string path);

  /// The run with this key, or null.
  const Run* find(const std::string& key) const;

  /// All runs by their keys.
  const std::map<std::string, Run>& runs() const noexcept { return runs_; }

  /// Appends a whole line. When that fails, standard error has a warning, the file is as it was,
  /// and the run is kept in memory only.
  const Run& add(Run run);

 private:
  void append(const Run& run);

  std::string path_;
  bool ends_inside_line_ = false;
  std::optional<std::uintmax_t> cut_off_at_;  ///< where a broken last line begins
  std::map<std::string, Run> runs_;
};

}  // namespace refrain::cmnrec
