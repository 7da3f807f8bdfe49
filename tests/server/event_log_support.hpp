#pragma once
/// Helpers of the tests of the event log.

#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "refrain/core/random.hpp"
#include "refrain/server/event_log.hpp"
#include "support/scratch.hpp"

namespace refrain::test {

using Strings = std::vector<std::string>;

/// More items than any test appends.
inline constexpr std::int64_t all_items = 1'000'000'000;

/// A pass of fold() to its end.
inline void fold_all(EventLog& log, std::int64_t events = 2'000) {
  while (log.fold(events)) {
  }
}

inline std::map<std::string, std::int64_t> item_counts(const EventLog& log) {
  std::map<std::string, std::int64_t> counts;
  log.for_each_item([&](std::string_view item, std::int64_t count) {
    if (!counts.emplace(item, count).second) throw Error("an item occurs twice");
  });
  return counts;
}

/// The contents of all files of a folder.
inline std::map<std::string, std::string> files_of(const std::filesystem::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.is_regular_file())
      files[entry.path().filename().string()] = read_file(entry.path().string());
  }
  return files;
}

/// Runs check() in a child process; true when it returns true. A child has limits and locks of its
/// own.
template <class Check>
bool holds_in_child(Check check) {
  const pid_t child = ::fork();
  if (child == 0) {
    try {
      ::_exit(check() ? 0 : 1);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "in the child: %s\n", error.what());
    }
    ::_exit(2);
  }
  int status = 0;
  return child > 0 && ::waitpid(child, &status, 0) == child && WIFEXITED(status) &&
         WEXITSTATUS(status) == 0;
}

}  // namespace refrain::test
