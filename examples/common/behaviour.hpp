#pragma once
/// Reads the behaviour files that a command line names.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/options.hpp"
#include "refrain/data/readers.hpp"
#include "refrain/data/splits.hpp"

namespace refrain::examples {

/// Prints to standard error the format in which a file was read and the lines that were skipped.
void report_reading(const std::string& path, const ReadReport& report);

/// Converts the options of a command line to those of the readers.
inline ReadOptions read_options(const LogOptions& log) {
  return {.format = log.format,
          .skip_bad_lines = log.skip_bad_lines,
          .in_file_order = log.in_file_order,
          .user_column = log.user_column,
          .item_column = log.item_column,
          .time_column = log.time_column};
}

/// Calls read(path, options), then report_reading().
template <class Read>
auto read_reported(const std::string& path, ReadOptions options, const Read& read) {
  ReadReport report;
  options.report = &report;
  auto found = read(path, options);
  report_reading(path, report);
  return found;
}

/// Reads the file of --titles; returns nullopt without this option.
std::optional<Titles> titles_of(const LogOptions& log);

/// Number of users of `more` that also occur in `sequences`; 0 if either has no user ids.
std::int64_t shared_users(const Sequences& sequences, const Sequences& more);

/// The row of a user. If the file has no user ids, a user is given by the line number, from 1.
/// Throws OptionError about --user for an unknown user.
std::int64_t row_of_user(const Sequences& sequences, const std::string& user);

/// The user id of a row. If the file has no user ids, the line number, from 1.
std::string user_name(const Sequences& sequences, std::int64_t row);

/// The shares of --split. Throws OptionError about --split unless they are three numbers in [0, 1]
/// that sum to 1.
SplitFractions expect_split(const std::vector<double>& shares);

/// Number of items of the longest row.
std::int64_t longest_row(const Sequences& sequences);

/// Throws OptionError about --length if the network would mostly read padding, i.e. for a length
/// above 1000 that exceeds the longest sequence.
void expect_length(std::int64_t length, std::int64_t longest);

/// Original item ids of a row; empty for a row past the last one.
std::vector<std::string> item_names(const Sequences& sequences, std::int64_t row);

}  // namespace refrain::examples
