#pragma once
/// Options and exit codes that the example programs share.

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/choice.hpp"
#include "common/processes.hpp"
#include "refrain/data/batches.hpp"

namespace refrain::examples {

/// The outcome of a command; its value is the program's exit code.
enum class Outcome : int {
  done = 0,
  interrupted = 130,  ///< by SIGINT or SIGTERM; 128 + SIGINT, as in shells
};

/// Behaviour logs, item titles and the options of their readers.
struct LogOptions {
  std::vector<std::string> files;
  Format format = Format::automatic;  ///< the format of all files
  std::int64_t skip_bad_lines = 0;
  bool in_file_order = false;  ///< ReadOptions::in_file_order
  /// ReadOptions::user_column, item_column and time_column; empty: by name
  std::string user_column, item_column, time_column;
  std::string titles;  ///< movies.csv, movies.dat or u.item
};

/// The trained model that a training starts from (common/warm_start.hpp).
struct WarmStart {
  std::string file;  ///< file of --from; empty: none
  /// names of all options that the command line or --config gives ("--channels")
  std::set<std::string> given;

  bool is_on() const { return !file.empty(); }
};

/// The store that `prepare` writes.
struct PrepareOptions {
  std::string store;  ///< a new folder
  std::int64_t memory_bytes = std::int64_t{1} << 30;
};

/// The course of the learning rate after the warm-up, until the last of the maximum number of
/// epochs: constant, or a decay to 0.
enum class RateSchedule : std::uint8_t { constant, cosine, linear };
template <>
inline constexpr Choice<RateSchedule> choices<RateSchedule>[] = {
    {"constant", RateSchedule::constant},
    {"cosine", RateSchedule::cosine},
    {"linear", RateSchedule::linear}};

template <>
inline constexpr Choice<Shuffle> choices<Shuffle>[] = {{"full", Shuffle::full},
                                                       {"blocks", Shuffle::blocks}};

struct TrainOptions {
  std::int64_t epochs = 20;
  std::int64_t batch = 64;
  std::int64_t slices = 1;  ///< TrainerOptions::slices
  double learning_rate = 1e-3;
  double warmup = 0;  ///< epochs in which the learning rate grows linearly; may be fractional
  RateSchedule rate_schedule = RateSchedule::constant;
  std::int64_t patience = 5;        ///< evaluations without improvement before training stops
  double plateau_margin = 0;        ///< TrainerOptions::plateau_margin
  double clip = 5;                  ///< maximum gradient norm; 0: no clipping
  double l2 = 0;                    ///< L2 regularization of the head's weight, which may be tied
  double decay = 0;                 ///< AdamOptions::decay
  Shuffle shuffle = Shuffle::full;  ///< order of the sequences of an epoch
};

/// The search for the learning rate, and for the dropout (common/search.hpp).
struct SearchOptions {
  bool is_on = false;
  std::vector<double> learning_rates{0.0003, 0.001, 0.003, 0.01};
  std::vector<double> dropouts = {};  ///< empty: the dropout is not searched
  std::int64_t epochs = 3;            ///< of the first round
};

struct RunOptions {
  std::uint64_t seed = 1;
  std::int64_t threads = 0;
  Device device = Device::cpu;
  std::string log;
  std::string ranks;                           ///< file of --ranks
  std::string config;                          ///< file of --config
  bool force = false;                          ///< write a result even if it is worse than chance
  std::int64_t deadline = 300;                 ///< seconds that a process waits for another
  Processes* processes = &Processes::alone();  ///< that run the command
};

/// The format in which recommendations are printed.
enum class Output : std::uint8_t { text, json_lines, csv };
template <>
inline constexpr Choice<Output> choices<Output>[] = {
    {"text", Output::text}, {"jsonl", Output::json_lines}, {"csv", Output::csv}};

/// The parts of recommend --all that one of several processes computes: every `processes`-th part,
/// from the `process`-th on.
struct PartShare {
  static constexpr const char* notation = "I/N with 1 <= I <= N, such as 3/16";
  /// Returns nullopt for an invalid text.
  static std::optional<PartShare> parse(const std::string& text);
  std::string text() const;

  /// Whether this process computes a part, numbered from 0.
  bool has(std::int64_t part) const noexcept { return part % processes == process - 1; }

  std::int64_t process = 1;
  std::int64_t processes = 1;
};

/// The users and histories to recommend to, and the number of items.
struct RecommendOptions {
  std::vector<std::string> users;
  std::vector<std::string> histories;
  std::int64_t count = 10;
  bool keep_seen = false;
  Output output = Output::text;
  bool all = false;    ///< all users of the log, into files
  std::string folder;  ///< of these files
  PartShare share;
  std::int64_t part_users = 65536;  ///< users in a file
  bool force = false;               ///< replace files of another run
};

}  // namespace refrain::examples
