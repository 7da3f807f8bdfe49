#pragma once
/// recommend --all: the answers for all users of a log, in files of a folder.

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "common/answer_format.hpp"
#include "common/options.hpp"
#include "refrain/data/sequences.hpp"

namespace refrain::examples {

/// A request and its answer.
struct Answered {
  Request request;
  Answer answer;
};

/// The users of a log and how a program answers for them.
struct AllUsers {
  std::int64_t users = 0;
  std::int64_t tasks = 1;  ///< answers per user
  std::int64_t batch = 1;  ///< users that are scored at a time
  /// What determines the answers beside RecommendOptions: hashes of model and data, options.
  nlohmann::ordered_json settings = {};
  /// Answers for the users [begin, end): `tasks` of them for each user, in order.
  std::function<std::vector<Answered>(std::int64_t begin, std::int64_t end)> answer;
};

/// The number of users that are scored at a time: 128, or fewer, down to least_batch, where their
/// scores of `targets` targets would exceed 64 MiB.
std::int64_t users_at_once(std::int64_t targets) noexcept;

/// XXH64 over the bytes of a file, as 16 hexadecimal digits. Throws DataError if it cannot be read.
std::string hash_of_file(const std::string& path);
/// A hash of rows, items and users.
std::string hash_of(const Sequences& sequences);
/// A hash of titles; empty without titles.
std::string hash_of(const std::optional<Titles>& titles);

/// Writes the answers in parts: the files in the order of their names are the output of recommend
/// for all users. Finished parts are kept, so the same command continues after an interruption. The
/// files do not depend on the number of processes, on interruptions, or on the number of threads.
/// Throws OptionError for a folder of other settings, DataError for a file that cannot be written,
/// of which nothing is left.
Outcome recommend_all(const RecommendOptions& options, const RunOptions& run,
                      const std::optional<Titles>& titles, const AllUsers& all);

}  // namespace refrain::examples
