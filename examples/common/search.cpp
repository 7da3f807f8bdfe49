#include "common/search.hpp"

#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <vector>

#include "common/standard_streams.hpp"
#include "refrain/core/text.hpp"
#include "refrain/train/successive_halving.hpp"
#include "refrain/train/training_progress.hpp"

namespace refrain::examples {
namespace {

/// A candidate's network, optimizer and position, which live from round to round.
class Running {
 public:
  Running(SearchedTraining made, const TrainOptions& options, const TrainPlace& place,
          const std::string& candidate)
      : made_(std::move(made)),
        label_(fmt::format("{}, {}", place.label, candidate)),
        style_(progress_style(place)),
        ranks_(place.processes->ranks()),
        trainer_(made_.training.module, *made_.training.optimizer,
                 search_options(made_.training, options, place)) {}

  /// Trains up to `epochs` epochs. Returns the best figure so far, NaN if the training diverged,
  /// nullopt if it was interrupted.
  std::optional<double> train_until(std::int64_t epochs) {
    const Validation& validation = made_.training.validation;
    TrainingProgress progress({.label = label_,
                               .steps_per_epoch = made_.training.steps_per_epoch,
                               .metric = validation.name,
                               .style = style_,
                               .is_brief = true});
    trainer_.on_step([&](const StepReport& step) { progress.show(step); });
    trainer_.on_epoch([&](const EpochReport& epoch) { progress.show(epoch); });
    trainer_.set_epochs(epochs);
    constexpr double diverged = std::numeric_limits<double>::quiet_NaN();
    try {
      const TrainingResult result =
          made_.training.run(trainer_, [&](std::int64_t) { return validation.measure(ranks_); });
      progress.finish();
      if (result.end == TrainingEnd::interrupted) return std::nullopt;
      return result.position.best_epoch >= 0 ? result.position.best_metric : diverged;
    } catch (const DivergedError&) {
      progress.finish();
      return diverged;
    }
  }

 private:
  /// A candidate continues from its latest parameters, not from its best ones.
  static TrainerOptions search_options(const Training& training, const TrainOptions& options,
                                       const TrainPlace& place) {
    TrainerOptions trainer = trainer_options(training, options, place);
    trainer.setting = place.setting;
    trainer.restore_best = false;
    return trainer;
  }

  SearchedTraining made_;
  std::string label_;
  Progress::Style style_;
  Communicator* ranks_;
  Trainer trainer_;
};

const char* outcome_of(const HalvingCandidate& candidate) {
  if (candidate.is_kept) return "kept";
  return std::isfinite(candidate.figure) ? "left out" : "diverged";
}

void print(const HalvingRound& round, const SearchRecord& record, const std::string& label) {
  const bool has_dropout = record.candidates.front().dropout.has_value();
  fmt::print("{}: search, round {}: {}{} each\n", label, round.round + 1,
             round.epochs > record.first_epochs ? "up to " : "", counted(round.epochs, "epoch"));
  fmt::print("  {:>13}{}  {:>16}\n", "learning rate", has_dropout ? "  dropout" : "",
             record.metric);
  for (const HalvingCandidate& each : round.candidates) {
    const SearchCandidate& candidate = record.candidates[static_cast<std::size_t>(each.number)];
    fmt::print("  {:>13}{}  {:>16}  {}\n", candidate.learning_rate,
               has_dropout ? fmt::format("  {:>7}", *candidate.dropout) : "",
               std::isfinite(each.figure) ? fmt::format("{:.4f}", each.figure) : "-",
               outcome_of(each));
  }
  flush_output();
}

/// `epochs`: of each candidate so far.
void log_candidate(const TrainPlace& place, const SearchRecord& record,
                   const SearchCandidate& candidate, std::int64_t epochs, double figure,
                   const char* outcome) {
  if (place.log == nullptr) return;
  std::vector<MetricLog::Number> numbers{{"epochs", static_cast<double>(epochs)},
                                         {"learning_rate", candidate.learning_rate},
                                         {"validation", figure},
                                         {"seed", static_cast<double>(place.seed)}};
  if (candidate.dropout) numbers.emplace_back("dropout", *candidate.dropout);
  const std::vector<MetricLog::Text> texts{
      {"run", place.label}, {"metric", record.metric}, {"search", outcome}};
  place.log->write(numbers, texts);
}

/// The record in a training state. Throws DataError unless its search is that of `asked`.
SearchRecord stored_search(const std::string& path, const SearchRecord& asked) {
  const TrainingState state = load_training(path);
  const auto found = state.metadata.find("search");
  if (found == state.metadata.end()) {
    throw DataError(path, 0,
                    "keeps the state of a run without --search; give the same options and data, or "
                    "another file");
  }
  const SearchRecord stored =
      search_record(JsonFields(found->second, path, 0, "invalid record of a search"));
  if (stored.setting() == asked.setting()) return stored;
  throw DataError(path, 0,
                  fmt::format("keeps the state of another run: search: expected {}, got {}; give "
                              "the same options and data, or another file",
                              asked.setting(), stored.setting()));
}

}  // namespace

void expect_searchable(std::int64_t training, std::int64_t validation) {
  if (training < 2) {
    throw OptionError(
        fmt::format("--search: expected at least two training examples, got {}", training));
  }
  if (validation < 1)
    throw OptionError("--search: expected users in the validation part, got none; give more users");
}

std::optional<SearchRecord> search(
    const SearchOptions& options, const TrainOptions& train, const TrainPlace& place,
    const std::function<SearchedTraining(const SearchCandidate&)>& make) {
  SearchRecord record{.first_epochs = options.epochs, .candidates = candidates_of(options)};
  if (!place.state_file.empty() && std::filesystem::exists(place.state_file)) {
    record = stored_search(place.state_file, record);
    fmt::print("{}: the search {} (stored in {})\n", place.label, record.summary(),
               place.state_file);
    return record;
  }
  const InterruptGuard guard;
  std::vector<std::unique_ptr<Running>> running(record.candidates.size());
  bool larger_is_better = true;
  for (std::size_t i = 0; i < running.size(); ++i) {
    TrainOptions own = train;
    own.learning_rate = record.candidates[i].learning_rate;
    SearchedTraining made = make(record.candidates[i]);
    record.metric = made.training.validation.name;
    larger_is_better = made.training.validation.larger_is_better;
    running[i] =
        std::make_unique<Running>(std::move(made), own, place, record.candidates[i].text());
  }
  place.processes->wait_for_all();
  const auto report = [&](const HalvingRound& round) {
    for (const HalvingCandidate& each : round.candidates) {
      const std::size_t i = static_cast<std::size_t>(each.number);
      SearchCandidate& candidate = record.candidates[i];
      candidate.epochs = round.epochs;
      candidate.figure =
          std::isfinite(each.figure) ? each.figure : std::numeric_limits<double>::quiet_NaN();
      if (!each.is_kept) running[i].reset();
      log_candidate(place, record, candidate, round.epochs, candidate.figure, outcome_of(each));
    }
    print(round, record, place.label);
  };
  const std::optional<std::int64_t> best =
      successive_halving({.candidates = static_cast<std::int64_t>(running.size()),
                          .first_epochs = options.epochs,
                          .max_epochs = train.epochs,
                          .final_epochs = train.epochs,
                          .larger_is_better = larger_is_better,
                          .on_round = report},
                         [&](std::int64_t number, std::int64_t epochs) {
                           return running[static_cast<std::size_t>(number)]->train_until(epochs);
                         });
  if (!best) return std::nullopt;
  record.chosen = static_cast<std::size_t>(*best);
  log_candidate(place, record, record.choice(), record.choice().epochs, record.choice().figure,
                "chosen");
  fmt::print("{}: the search {}\n", place.label, record.summary());
  flush_output();
  return record;
}

void keep_search(TrainPlace& place, const SearchRecord& record) {
  place.setting["search"] = record.setting();
  place.metadata["search"] = json_of(record).dump();
}

Outcome interrupted_search(const std::string& label, const std::string& out) {
  fmt::print(
      "{}: interrupted in the search: {} was not written, and the same command starts from the "
      "beginning\n",
      label, out);
  return Outcome::interrupted;
}

}  // namespace refrain::examples
