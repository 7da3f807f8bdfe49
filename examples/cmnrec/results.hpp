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
  std::string title;       ///< title of the model
  std::int64_t slots = 0;  ///< m; 0 for a model without chunks
  std::uint64_t seed = 0;
  std::int64_t parameters = 0;
  std::int64_t epochs = 0;
  double seconds_per_epoch = 0;  ///< median over epochs; 0 for a model without training
  double prediction_ms = 0;      ///< time for one batch
  std::int64_t prediction_batch = 0;
  std::string metric = {};  ///< name of the curve's validation figure
  std::vector<EpochReport> curve = {};
  /// ranked among all items; among the items outside the history
  std::array<Figures, 2> figures = {};

  /// "CmnRec TSC m=4"
  std::string label() const { return slots > 0 ? title + " m=" + std::to_string(slots) : title; }
};

/// The key of a run: the data, model and training options that its figures depend on, and the
/// number of threads, which its times depend on.
std::string run_key(const ModelOptions& model, const Options& options, std::uint64_t fingerprint,
                    std::uint64_t seed);

/// run_key() of a baseline, which has a name and no options.
std::string baseline_key(const std::string& name, std::int64_t length, const Options& options,
                         std::uint64_t fingerprint);

/// Runs in a file; without a path, only in memory.
class Results {
 public:
  /// Reads the file. Skips an incomplete last line with a warning and removes it when a run is
  /// added. Throws DataError for any other damage.
  explicit Results(std::string path);

  /// The run with this key, or null.
  const Run* find(const std::string& key) const;

  /// All runs by their keys.
  const std::map<std::string, Run>& runs() const noexcept { return runs_; }

  /// Adds a run and appends it to the file as one line. On failure it prints a warning to standard
  /// error, restores the file and keeps the run only in memory.
  const Run& add(Run run);

 private:
  void append(const Run& run);

  std::string path_;
  bool ends_inside_line_ = false;
  std::optional<std::uintmax_t> cut_off_at_;  ///< start of an incomplete last line
  std::map<std::string, Run> runs_;
};

}  // namespace refrain::cmnrec
