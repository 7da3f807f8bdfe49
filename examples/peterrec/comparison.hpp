#pragma once
/// The table of compare: a line of figures for each method.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/run_log.hpp"
#include "peterrec/training.hpp"

namespace refrain::peterrec {

/// One line of the table.
struct Line {
  std::string method;
  double share = 1;           ///< of the training examples
  std::int64_t trained = -1;  ///< parameters; -1: nothing is trained
  double seconds_per_epoch = 0;
  std::int64_t epochs = 0;
  std::vector<Figure> figures = {};  ///< means over seeds
  std::vector<double> spread = {};   ///< standard deviation (n - 1) of each; empty for one seed
};

/// What all methods of a run share.
struct Comparison {
  const Options& options;
  SourceTask source;
  std::shared_ptr<NextItNet> base;
  examples::RunLog& log;
};

/// Trains a method with every seed and measures it; the network of the last seed goes to `last`.
/// Nothing when the run was interrupted: the means would be of other seeds, or of a network half
/// trained.
std::optional<Line> run_method(const Comparison& comparison, const TaskData& task,
                               const Method& method, double share,
                               std::unique_ptr<TaskNetwork>& last);

/// Measures what is not trained: the base's own head, the popularity, and chance.
std::vector<Line> run_references(const Comparison& comparison, const TaskData& task);

void print_table(const Comparison& comparison, const TaskData& task,
                 const std::vector<Line>& lines);

/// Prints some users of the test part: history, targets, and the best of three recommenders.
void print_users(const Comparison& comparison, const TaskData& task, const Reference& learned,
                 const std::optional<Titles>& titles);

}  // namespace refrain::peterrec
