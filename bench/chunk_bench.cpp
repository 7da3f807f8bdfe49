/// Speed-up of chunks: steps of CmnRec (PEC, TSC, EXC) and of the same network with memory access
/// at every time step (SRMN), at the paper's shapes.
///
///   chunk_bench [--full] [--batch N] [--seconds S] [--json FILE] [Google Benchmark's flags]
///
/// H = W = 256, E = 128, R = 1, attention 64, N = m words; SRMN has as many words as the model it
/// is compared with. SRMN and the three schedules alternate step by step, and each round starts
/// with another one; results are medians, so that other load of the machine affects all four alike.
/// Adam is row-sparse. See chunk_speedup.sh.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "memory_network_steps.hpp"

namespace {

using namespace refrain;
using bench::StepKind;

/// One of the paper's data sets: sequence length and number of items.
struct DataSet {
  std::int64_t steps;
  std::int64_t items;
  std::vector<std::int64_t> slots;
};

const std::array<DataSet, 3> data_sets{DataSet{10, 65'997, {2, 3}},        //
                                       DataSet{50, 10'670, {2, 4, 6, 9}},  //
                                       DataSet{100, 18'226, {2, 4, 6, 9, 12}}};

struct Settings {
  bool full = false;
  std::int64_t batch = 128;
  double seconds = 6;  ///< time of one comparison, if the minimum number of rounds allows
  std::string json;
};

/// The compared schedules; memory access at every time step is first.
constexpr std::array<const char*, 4> turns{"SRMN", "PEC", "TSC", "EXC"};

/// SRMN and the three schedules on the same network and sequences; measured when one of their
/// results is requested.
class Comparison {
 public:
  struct Options {
    std::int64_t steps = 0;
    std::int64_t items = 0;
    std::int64_t slots = 0;
    StepKind kind = StepKind::infer;
    std::int64_t batch = 0;
    double seconds = 0;
  };

  explicit Comparison(const Options& options)
      : options_(options),
        schedules_{ChunkSchedule::every_step(options.steps),
                   ChunkSchedule::pec(options.steps, options.slots),
                   ChunkSchedule::tsc(options.steps, options.slots),
                   ChunkSchedule::exc(options.steps, options.slots)} {}

  const Options& options() const noexcept { return options_; }

  double bound(std::size_t turn) const {
    return bench::counted_bound(step_options().network, schedules_[turn], options_.kind,
                                step_options().negatives);
  }

  /// Median duration of a step in seconds.
  double seconds(std::size_t turn) {
    if (!medians_) measure();
    return (*medians_)[turn];
  }

 private:
  bench::MemoryNetworkSteps::Options step_options() const {
    return {.network = {.items = options_.items, .words = options_.slots},
            .kind = options_.kind,
            .batch = options_.batch,
            .steps = options_.steps,
            .negatives = options_.kind == StepKind::train_sampled ? options_.items / 10 : 0};
  }

  void measure() {
    bench::MemoryNetworkSteps steps(step_options());
    const auto timed = [&](std::size_t turn) {
      const auto begin = std::chrono::steady_clock::now();
      steps.run(schedules_[turn]);
      return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    };
    double round = 0;
    for (std::size_t warm_up = 0; warm_up < 2; ++warm_up) {
      round = 0;
      for (std::size_t turn = 0; turn < turns.size(); ++turn) round += timed(turn);
    }
    const auto rounds = static_cast<std::size_t>(std::clamp(options_.seconds / round, 5.0, 101.0));
    std::array<std::vector<double>, turns.size()> times;
    for (std::size_t r = 0; r < rounds; ++r) {
      for (std::size_t k = 0; k < turns.size(); ++k) {
        const std::size_t turn = (r + k) % turns.size();
        times[turn].push_back(timed(turn));
      }
    }
    medians_.emplace();
    for (std::size_t turn = 0; turn < turns.size(); ++turn) {
      std::sort(times[turn].begin(), times[turn].end());
      (*medians_)[turn] = (times[turn][(rounds - 1) / 2] + times[turn][rounds / 2]) / 2;
    }
  }

  Options options_;
  std::array<ChunkSchedule, turns.size()> schedules_;
  std::optional<std::array<double, turns.size()>> medians_;
};

/// One line of the table and of the JSON file.
struct Line {
  std::shared_ptr<Comparison> comparison;
  std::size_t turn = 0;
};

/// Prints each line when it is measured, and stores those of chunked schedules for the file.
class Table final : public benchmark::BenchmarkReporter {
 public:
  explicit Table(const std::vector<Line>& lines) : lines_(lines) {}

  bool ReportContext(const Context&) override {
    std::cout << "   T   m  schedule  step   loss      batch   items         ms    items/s    SRMN "
                 "ms  speed-up  counted\n";
    return true;
  }

  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs) {
      if (run.error_occurred) {
        std::cout << run.benchmark_name() << ": " << run.error_message << '\n';
        failed_ = true;
        continue;
      }
      report(lines_.at(static_cast<std::size_t>(run.counters.at("line"))),
             run.counters.at("items_per_second"));
    }
  }

  bool failed() const noexcept { return failed_; }

  void write_json(std::ostream& out) const {
    out << '[';
    for (std::size_t i = 0; i < reported_.size(); ++i)
      out << (i == 0 ? "\n " : ",\n ") << reported_[i];
    out << "\n]\n";
  }

 private:
  void report(const Line& line, double items_per_second) {
    Comparison& comparison = *line.comparison;
    const Comparison::Options& shape = comparison.options();
    const double ms = 1e3 * comparison.seconds(line.turn);
    const double srmn_ms = 1e3 * comparison.seconds(0);
    const bool train = bench::is_training(shape.kind);
    std::cout << std::setw(4) << shape.steps << std::setw(4) << shape.slots << "  " << std::left
              << std::setw(10) << turns[line.turn] << std::setw(7) << (train ? "train" : "infer")
              << std::setw(7) << (train ? bench::loss_name(shape.kind) : "-") << std::right
              << std::setw(8) << shape.batch << std::setw(8) << shape.items << std::fixed
              << std::setprecision(2) << std::setw(11) << ms << std::setprecision(0)
              << std::setw(11) << items_per_second;
    if (line.turn > 0) {
      std::cout << std::setprecision(2) << std::setw(11) << srmn_ms << std::setw(10) << srmn_ms / ms
                << std::setw(9) << comparison.bound(line.turn);
    }
    std::cout << std::defaultfloat << std::endl;
    if (line.turn == 0) return;
    std::string schedule = turns[line.turn];
    for (char& letter : schedule) letter = static_cast<char>(letter - 'A' + 'a');
    reported_.push_back(refrain::detail::concat(
        "{\"time\": ", shape.steps, ", \"slots\": ", shape.slots, ", \"schedule\": \"", schedule,
        "\", \"mode\": \"", train ? "train" : "infer", "\", \"loss\": \"",
        bench::loss_name(shape.kind), "\", \"batch\": ", shape.batch, ", \"items\": ", shape.items,
        ", \"ms\": ", ms, ", \"srmn_ms\": ", srmn_ms, ", \"speedup\": ", srmn_ms / ms,
        ", \"counted_bound\": ", comparison.bound(line.turn), "}"));
  }

  const std::vector<Line>& lines_;
  std::vector<std::string> reported_;
  bool failed_ = false;
};

/// Removes this program's flags from the arguments and returns their values.
Settings read_settings(int& count, char** arguments) {
  Settings settings;
  int kept = 1;
  for (int i = 1; i < count; ++i) {
    const std::string_view flag = arguments[i];
    const auto value = [&]() -> std::string {
      if (i + 1 == count)
        throw OptionError(refrain::detail::concat("chunk_bench: ", flag, " needs a value"));
      return arguments[++i];
    };
    const auto positive = [&] {
      const std::string text = value();
      char* end = nullptr;
      const double number = std::strtod(text.c_str(), &end);
      if (end == text.c_str() || *end != '\0' || !(number > 0) || number > 1e6) {
        throw OptionError(refrain::detail::concat("chunk_bench: ", flag,
                                                  ": expected a number above 0, got '", text, "'"));
      }
      return number;
    };
    if (flag == "--full")
      settings.full = true;
    else if (flag == "--batch")
      settings.batch = static_cast<std::int64_t>(std::max(1.0, positive()));
    else if (flag == "--seconds")
      settings.seconds = positive();
    else if (flag == "--json")
      settings.json = value();
    else
      arguments[kept++] = arguments[i];
  }
  arguments[kept] = nullptr;
  count = kept;
  return settings;
}

/// Inference and the paper's loss for every number of slots; the other losses for the largest
/// number of each data set, or with --full for all.
std::vector<std::shared_ptr<Comparison>> comparisons(const Settings& settings) {
  std::vector<std::shared_ptr<Comparison>> all;
  for (const StepKind kind :
       {StepKind::infer, StepKind::train_sampled, StepKind::train_full, StepKind::train_last}) {
    const bool headline = kind == StepKind::infer || kind == StepKind::train_sampled;
    for (const DataSet& set : data_sets) {
      for (const std::int64_t slots : set.slots) {
        if (!settings.full && !headline && slots != set.slots.back()) continue;
        all.push_back(
            std::make_shared<Comparison>(Comparison::Options{.steps = set.steps,
                                                             .items = set.items,
                                                             .slots = slots,
                                                             .kind = kind,
                                                             .batch = settings.batch,
                                                             .seconds = settings.seconds}));
      }
    }
  }
  return all;
}

void register_line(const Line& line, std::size_t index) {
  const Comparison::Options& shape = line.comparison->options();
  const std::string name = refrain::detail::concat(
      bench::is_training(shape.kind) ? "train/" : "infer/", bench::loss_name(shape.kind),
      "/T:", shape.steps, "/m:", shape.slots, "/", turns[line.turn]);
  benchmark::RegisterBenchmark(
      name.c_str(),
      [line, index](benchmark::State& state) {
        Comparison& comparison = *line.comparison;
        for (auto _ : state) state.SetIterationTime(comparison.seconds(line.turn));
        state.SetItemsProcessed(comparison.options().batch * comparison.options().steps);
        state.counters["line"] = static_cast<double>(index);
        state.counters["speedup"] = comparison.seconds(0) / comparison.seconds(line.turn);
        state.counters["counted_bound"] = comparison.bound(line.turn);
      })
      ->UseManualTime()
      ->Iterations(1)
      ->Unit(benchmark::kMillisecond);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const Settings settings = read_settings(argc, argv);
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    std::ofstream file;
    if (!settings.json.empty()) {
      file.open(settings.json);
      if (!file)
        throw DataError(settings.json, 0,
                        refrain::detail::concat("cannot be written: ", std::strerror(errno)));
    }
    std::vector<Line> lines;
    for (const auto& comparison : comparisons(settings)) {
      for (std::size_t turn = 0; turn < turns.size(); ++turn) lines.push_back({comparison, turn});
    }
    for (std::size_t i = 0; i < lines.size(); ++i) register_line(lines[i], i);
    std::cout << "SRMN and CmnRec, H = W = 256, E = 128, R = 1, N = m, f32, " << threads()
              << " threads; medians of steps taken in turns\n"
              << "items/s: items of the sequences; counted: the speed-up that the counted "
                 "multiply-adds allow\n";
    Table table(lines);
    if (benchmark::RunSpecifiedBenchmarks(&table) == 0) return 2;
    if (table.failed()) return 1;
    if (file.is_open()) {
      table.write_json(file);
      file.close();
      if (!file) throw DataError(settings.json, 0, "writing failed");
    }
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
  return 0;
}
