#pragma once
/// Behaviour files as the command lines name them.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/options.hpp"
#include "refrain/data/readers.hpp"
#include "refrain/data/splits.hpp"

namespace refrain::examples {

/// Says on standard error what a file was read as and which of its lines were passed over.
void tell_reading(const std::string& path, const ReadReport& report);

/// How the logs are read.
inline ReadOptions read_options(const LogOptions& log) {
  return {.format = log.format,
          .skip_bad_lines = log.skip_bad_lines,
          .in_file_order = log.in_file_order};
}

/// Calls read(path, options), then tell_reading().
template <class Read>
auto read_told(const std::string& path, ReadOptions options, const Read& read) {
  ReadReport report;
  options.report = &report;
  auto found = read(path, options);
  tell_reading(path, report);
  return found;
}

/// The titles of --titles; nothing without it.
std::optional<Titles> titles_of(const LogOptions& log);

/// How many users of `more` are in `sequences`, too: 0 where either names none.
std::int64_t shared_users(const Sequences& sequences, const Sequences& more);

/// The row of a user. Where the file has no user ids a user is a line, counted from 1. Throws
/// OptionError, naming --user, when there is none.
std::int64_t row_of_user(const Sequences& sequences, const std::string& user);

/// The shares of --split. Throws OptionError, naming it, unless these are three shares from 0 that
/// sum to 1.
SplitFractions expect_split(const std::vector<double>& shares);

/// Items of the longest row.
std::int64_t longest_row(const Sequences& sequences);

/// Throws OptionError, naming --length, for a network that would mostly read padding: for more
/// than 1000 steps when no sequence has so many items.
void expect_length(std::int64_t length, std::int64_t longest);

/// Original item ids of a row; empty past the last one.
std::vector<std::string> item_names(const Sequences& sequences, std::int64_t row);

}  // namespace refrain::examples
