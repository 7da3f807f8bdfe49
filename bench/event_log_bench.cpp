/// The event log: durable events, folding, and histories.
///
/// 100,000 users, 10,000 items, 1,000,000 events of random users. The files are in $TMPDIR, which
/// should be on the disk of interest. One thread. p50 and p99 are milliseconds of one transaction.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "refrain/core/random.hpp"
#include "refrain/server/event_log.hpp"

namespace {

using namespace refrain;
using Clock = std::chrono::steady_clock;

constexpr std::int64_t user_count = 100'000;
constexpr std::int64_t item_count = 10'000;
constexpr std::int64_t event_count = 1'000'000;
constexpr std::int64_t history_items = 61;  // reach of four PeterRec blocks

class TemporaryLog {
 public:
  TemporaryLog() {
    std::filesystem::remove_all(folder());
    std::filesystem::create_directories(folder());
    log_ = std::make_unique<EventLog>((folder() / "log.sqlite").string());
  }
  TemporaryLog(const TemporaryLog&) = delete;
  TemporaryLog& operator=(const TemporaryLog&) = delete;
  ~TemporaryLog() {
    log_.reset();
    std::filesystem::remove_all(folder());
  }
  EventLog& operator*() const { return *log_; }
  EventLog* operator->() const { return log_.get(); }

  std::string random_user() { return "user-" + std::to_string(random_.below(user_count)); }
  std::vector<LogEvent> random_events(std::int64_t count) {
    std::vector<LogEvent> events;
    for (std::int64_t i = 0; i < count; ++i)
      events.push_back({.user = random_user(),
                        .item = "item-" + std::to_string(random_.below(item_count)),
                        .time = 1'790'000'000 + i});
    return events;
  }
  void fill() {
    for (std::int64_t i = 0; i < event_count; i += 10'000) log_->append(random_events(10'000));
  }

 private:
  static std::filesystem::path folder() {
    return std::filesystem::temp_directory_path() / "refrain-event-log-bench";
  }
  std::unique_ptr<EventLog> log_;
  Random random_{1};
};

double milliseconds_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

double quantile(std::vector<double>& values, double share) {
  const auto at =
      values.begin() + static_cast<std::ptrdiff_t>(share * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

void append(benchmark::State& state) {
  TemporaryLog log;
  log.fill();
  while (log->fold(10'000)) {
  }
  std::vector<double> milliseconds;
  for (auto _ : state) {
    state.PauseTiming();
    const std::vector<LogEvent> events = log.random_events(state.range(0));
    state.ResumeTiming();
    const auto begin = Clock::now();
    log->append(events);
    milliseconds.push_back(milliseconds_since(begin));
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
  state.counters["p50"] = quantile(milliseconds, 0.5);
  state.counters["p99"] = quantile(milliseconds, 0.99);
}
BENCHMARK(append)->Arg(1)->Arg(250)->Arg(1'000)->UseRealTime()->Unit(benchmark::kMillisecond);

/// All events of 1,000,000, in calls of range(0) events; p99 is the time that a writer may wait.
void fold(benchmark::State& state) {
  std::vector<double> milliseconds;
  for (auto _ : state) {
    TemporaryLog log;
    log.fill();
    const auto start = Clock::now();
    for (bool is_left = true; is_left;) {
      const auto begin = Clock::now();
      is_left = log->fold(state.range(0));
      milliseconds.push_back(milliseconds_since(begin));
    }
    state.SetIterationTime(milliseconds_since(start) / 1'000);
  }
  state.SetItemsProcessed(state.iterations() * event_count);
  state.counters["p50"] = quantile(milliseconds, 0.5);
  state.counters["p99"] = quantile(milliseconds, 0.99);
}
BENCHMARK(fold)->Arg(2'000)->Arg(10'000)->Iterations(1)->UseManualTime()->Unit(
    benchmark::kMillisecond);

/// range(0): whether the events are folded.
void history(benchmark::State& state) {
  TemporaryLog log;
  log.fill();
  while (state.range(0) != 0 && log->fold(10'000)) {
  }
  for (auto _ : state) benchmark::DoNotOptimize(log->history(log.random_user(), history_items));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(history)->ArgName("folded")->Arg(0)->Arg(1)->UseRealTime()->Unit(benchmark::kMicrosecond);

/// Opening a log of 1,000,000 events, with the check of the whole file.
void open(benchmark::State& state) {
  const std::string path =
      (std::filesystem::temp_directory_path() / "refrain-event-log-open.sqlite").string();
  {
    TemporaryLog log;
    log.fill();
    while (state.range(0) != 0 && log->fold(10'000)) {
    }
    log->backup(path);
  }
  for (auto _ : state) {
    const EventLog log(path);
    benchmark::DoNotOptimize(log.counts());
  }
  for (const char* const end : {"", ".lock"}) std::filesystem::remove(path + end);
}
BENCHMARK(open)->ArgName("folded")->Arg(0)->Arg(1)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
