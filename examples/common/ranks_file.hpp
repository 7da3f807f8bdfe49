#pragma once
/// The file of --ranks.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "refrain/train/evaluate.hpp"

namespace refrain::examples {

/// A measured method.
struct RankedMethod {
  std::string task;
  std::string method;
  std::uint64_t seed = 1;
};

/// The rank of each test example, appended as JSON lines:
///
///   {"user":"17","example":3,"task":"next","method":"SRMN","seed":1,
///    "protocol":"full, 3,416 items","rank":5,"ties":0}
///
/// `rank` is the best place of the target. `ties` other candidates have an equal score, so that its
/// place is between rank and rank + ties, depending on their order. The lines of a method are
/// written together, after it was measured. If they cannot be written, the first failure is a
/// warning on standard error, and the run continues.
class RanksFile {
 public:
  /// An empty path stands for no file.
  explicit RanksFile(std::string path) : path_(std::move(path)) {}

  /// Collects the ranks of one evaluation; empty where there is no file.
  OnRanks collect();

  /// Appends the collected ranks. `protocols` has the description of each protocol, `users` the
  /// user of each example.
  void write(const RankedMethod& method, std::span<const std::string> protocols,
             std::span<const std::string> users);

 private:
  struct Ranked {
    std::int64_t protocol = 0;
    std::int64_t example = 0;
    Rank rank = {};
  };

  std::string path_;
  std::vector<Ranked> ranks_;
  bool has_failed_ = false;
};

}  // namespace refrain::examples
