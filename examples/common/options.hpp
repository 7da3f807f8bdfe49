#pragma once
/// What every example program lets its users set, and how its commands end.

#include <cstdint>
#include <string>
#include <vector>

#include "common/choice.hpp"

namespace refrain::examples {

/// How a command ended, as the exit code of the program.
enum class Outcome : int {
  done = 0,
  interrupted = 130,  ///< by Ctrl-C, as shells number it
};

/// Behaviour logs and titles, and how they are read.
struct LogOptions {
  std::vector<std::string> files;
  Format format = Format::automatic;  ///< of all files
  std::int64_t skip_bad_lines = 0;
  bool in_file_order = false;  ///< ReadOptions::in_file_order
  std::string titles;          ///< movies.csv, movies.dat or u.item
};

struct TrainOptions {
  std::int64_t epochs = 20;
  std::int64_t batch = 64;
  double learning_rate = 1e-3;
  std::int64_t patience = 5;  ///< evaluations without improvement before training stops
  double clip = 5;            ///< largest gradient norm; 0: no clipping
  double l2 = 0;              ///< on the head
};

struct RunOptions {
  std::uint64_t seed = 1;
  std::int64_t threads = 0;
  Device device = Device::cpu;
  std::string log;
  std::string config;  ///< file of --config
  bool force = false;  ///< a result that is worse than a guess is written all the same
};

/// How recommendations are printed.
enum class Output : std::uint8_t { text, json_lines, csv };
template <>
inline constexpr Choice<Output> choices<Output>[] = {
    {"text", Output::text}, {"jsonl", Output::json_lines}, {"csv", Output::csv}};

/// Whom to recommend to, and how many items.
struct RecommendOptions {
  std::vector<std::string> users;
  std::vector<std::string> histories;
  std::int64_t count = 10;
  bool keep_seen = false;
  Output output = Output::text;
};

}  // namespace refrain::examples
