#pragma once
/// What every example program lets its users set, and how its commands end.

#include <cstdint>
#include <string>
#include <vector>

namespace refrain::examples {

/// How a command ended, as the exit code of the program.
enum class Outcome : int {
  done = 0,
  interrupted = 130,  ///< by Ctrl-C, as shells number it
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
  std::string device = "cpu";
  std::string log;
  std::string config;  ///< file of --config
  bool force = false;  ///< a result that is worse than a guess is written all the same
};

/// Whom to recommend to, and how many items.
struct RecommendOptions {
  std::vector<std::string> users;
  std::vector<std::string> histories;
  std::int64_t count = 10;
  bool keep_seen = false;
};

}  // namespace refrain::examples
