#pragma once
/// The table of compare: a line of figures for each method.

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/run_log.hpp"
#include "peterrec/training.hpp"

namespace refrain::peterrec {

/// One line of the table.
struct Line {
  std::string method;
  double share = 1;              ///< of the training examples
  std::int64_t trained = -1;     ///< parameters; -1: nothing is trained
  double seconds_per_epoch = 0;  ///< NaN: trained in a pass with others
  std::int64_t epochs = 0;
  std::vector<Figure> figures = {};  ///< means over seeds
  std::vector<double> spread = {};   ///< standard deviation (n - 1) of each; empty for one seed
};

/// The data that all methods of a run share.
struct Comparison {
  const Options& options;
  SourceTask source;
  std::shared_ptr<NextItNet> base;
  examples::RunLog& log;
  examples::RanksFile& ranks;
};

/// The line of a method and the network of its last seed.
struct MeasuredMethod {
  Line line;
  std::unique_ptr<TaskNetwork> last;
};

/// True when a method trains all tasks, seeds and learning rates in one pass (train_together()).
bool is_one_pass(const Options& options, const Method& method);

/// The results of a method: of each task, or of the first ones when the run was interrupted,
/// because the means of the others would lack seeds.
struct MethodResult {
  std::vector<MeasuredMethod> tasks;
  bool is_complete = true;
};

/// Trains and measures a method on tasks with every seed, in one pass or one after the other.
MethodResult run_method(const Comparison& comparison, std::span<const TaskData> tasks,
                        const Method& method, double share);

/// Measures the references that are not trained: those of references(), and chance.
std::vector<Line> run_references(const Comparison& comparison, const TaskData& task);

void print_table(const Comparison& comparison, const TaskData& task,
                 const std::vector<Line>& lines);

/// Prints, for each method, the means of its figures over the profile tasks and the number of tasks
/// in which it is better, equal and worse than the first method with the same share of the data.
/// `lines`: those of each profile task.
void print_summary(std::span<const std::vector<Line>> lines);

/// Some users of the test part: history, targets, and the best targets of three recommenders.
std::string users_text(const Comparison& comparison, const TaskData& task, const Reference& learned,
                       const std::optional<Titles>& titles);

}  // namespace refrain::peterrec
