#pragma once
/// Behaviour files as the command lines name them.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "refrain/data/readers.hpp"

namespace refrain::examples {

/// The values of --format, for help texts.
inline constexpr const char* format_names =
    "automatic, ratings_dat, ratings_csv, u_data, inter, user_item, user_items, user_item_list, "
    "sequence_csv, transfer_csv";

/// How to read `path`; "automatic" detects its format.  Throws DataError, OptionError.
ReadOptions read_options(const std::string& path, const std::string& format,
                         std::int64_t skip_bad_lines, bool in_file_order, ReadReport& report);

/// The help text of --in-file-order.
inline constexpr const char* in_file_order_text =
    "Each user's events are in time order in the file: read no times";

/// Says on standard error what a file was read as and which of its lines were passed over, and
/// empties the report.
void tell_reading(const std::string& path, ReadReport& report);

/// How many users of `more` are in `sequences`, too: 0 where either names none.
std::int64_t shared_users(const Sequences& sequences, const Sequences& more);

/// Titles, with the passed over lines told; nothing for an empty path.
std::optional<Titles> titles_of(const std::string& path, std::int64_t skip_bad_lines);

/// The row of a user. Where the file has no user ids a user is a line, counted from 1. Throws
/// OptionError, naming --user, when there is none.
std::int64_t row_of_user(const Sequences& sequences, const std::string& user);

/// Throws OptionError, naming --split, unless these are three shares from 0 that sum to 1.
void expect_split(const std::vector<double>& shares);

/// Items of the longest row.
std::int64_t longest_row(const Sequences& sequences);

/// Throws OptionError, naming --length, for a network that would mostly read padding: for more
/// than 1000 steps when no sequence has so many items.
void expect_length(std::int64_t length, std::int64_t longest);

/// Original item ids of a row; empty past the last one.
std::vector<std::string> item_names(const Sequences& sequences, std::int64_t row);

}  // namespace refrain::examples
