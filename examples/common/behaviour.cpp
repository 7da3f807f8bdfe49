#include "common/behaviour.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "common/concat.hpp"
#include "common/standard_streams.hpp"

namespace refrain::examples {

void report_reading(const std::string& path, const ReadReport& report) {
  if (!report.read_as.empty()) say("{}: read as {}\n", path, report.read_as);
  for (const BadLine& bad : report.bad_lines)
    say("{}:{}: skipped: {}\n", path, bad.line, bad.reason);
}

std::int64_t shared_users(const Sequences& sequences, const Sequences& more) {
  return std::count_if(more.user.begin(), more.user.end(), [&](std::int32_t user) {
    return sequences.users.find(more.users[user]) != absent_id;
  });
}

std::optional<Titles> titles_of(const LogOptions& log) {
  if (log.titles.empty()) return std::nullopt;
  return read_reported(log.titles, {.skip_bad_lines = log.skip_bad_lines}, read_titles);
}

std::int64_t row_of_user(const Sequences& sequences, const std::string& user) {
  if (sequences.users.empty()) {
    const bool is_number = !user.empty() && user.size() < 10 &&
                           user.find_first_not_of("0123456789") == std::string::npos;
    const std::int64_t row = is_number ? std::stoll(user) - 1 : -1;
    if (row < 0 || row >= sequences.rows.rows()) {
      throw OptionError(
          concat("--user: the data has no user ids; expected a line number from 1 to ",
                 sequences.rows.rows(), ", got ", user));
    }
    return row;
  }
  const std::int32_t number = sequences.users.find(user);
  if (number == absent_id) throw OptionError("--user: expected a user of --data, got " + user);
  return std::find(sequences.user.begin(), sequences.user.end(), number) - sequences.user.begin();
}

std::string user_name(const Sequences& sequences, std::int64_t row) {
  if (sequences.user.empty()) return std::to_string(row + 1);
  return std::string(sequences.users[sequences.user[static_cast<std::size_t>(row)]]);
}

SplitFractions expect_split(const std::vector<double>& shares) {
  double sum = 0;
  bool is_good = shares.size() == 3;
  for (const double share : shares) {
    is_good = is_good && share >= 0 && share <= 1;
    sum += share;
  }
  if (is_good && std::abs(sum - 1) < 1e-6)
    return {.train = shares[0], .valid = shares[1], .test = shares[2]};
  throw OptionError(fmt::format(
      "--split: expected three shares (training, validation, test) that sum to 1, got {}",
      fmt::join(shares, ",")));
}

std::int64_t longest_row(const Sequences& sequences) {
  std::int64_t longest = 0;
  for (std::int64_t row = 0; row < sequences.rows.rows(); ++row)
    longest = std::max(longest, static_cast<std::int64_t>(sequences.rows[row].size()));
  return longest;
}

void expect_length(std::int64_t length, std::int64_t longest) {
  constexpr std::int64_t always_accepted = 1000;
  const std::int64_t max_length = std::max(always_accepted, longest);
  if (length <= max_length) return;
  throw OptionError(concat("--length: expected at most ", max_length, ", got ", length,
                           ": the longest sequence has ", longest,
                           " items, and all further time steps would be padding"));
}

std::vector<std::string> item_names(const Sequences& sequences, std::int64_t row) {
  std::vector<std::string> names;
  if (row >= sequences.rows.rows()) return names;
  for (const std::int32_t item : sequences.rows[row]) names.emplace_back(sequences.items[item]);
  return names;
}

}  // namespace refrain::examples
