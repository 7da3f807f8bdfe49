#include "cmnrec/data.hpp"

#include <fmt/format.h>

#include "common/behaviour.hpp"
#include "common/standard_streams.hpp"
#include "refrain/data/data_hash.hpp"

namespace refrain::cmnrec {
namespace {

/// The part of each sequence: 0 for training, 1 for validation, 2 for test. Sequences of a random
/// split have the numbers that they had before the split.
std::vector<std::size_t> part_of_each(const Dataset& data) {
  const RaggedIds* const parts[] = {&data.training, &data.validation.rows, &data.test.rows};
  std::vector<std::size_t> part_of;
  for (std::size_t part = 0; part < 3; ++part)
    part_of.insert(part_of.end(), static_cast<std::size_t>(parts[part]->rows()), part);
  if (data.is_split_in_time) return part_of;
  std::fill(part_of.begin(), part_of.end(), 0);
  for (const std::int64_t row : data.validation.origin) part_of[static_cast<std::size_t>(row)] = 1;
  for (const std::int64_t row : data.test.origin) part_of[static_cast<std::size_t>(row)] = 2;
  return part_of;
}

void expect_sequences(const char* part, const RaggedIds& rows, const DataOptions& options,
                      std::int64_t length) {
  if (!rows.empty()) return;
  throw OptionError(
      fmt::format("{} part: expected sequences of {} to {} items, got none; see --min-length, "
                  "--min-item-count and --split",
                  part, options.min_length, length + 1));
}

}  // namespace

Sequences read_behaviour(const examples::LogOptions& log) {
  if (log.files.empty()) throw OptionError("--data: expected a file, got none");
  Sequences all;
  for (const std::string& path : log.files) {
    Sequences more = examples::read_reported(path, examples::read_options(log), read_sequences);
    if (all.rows.empty()) {
      all = std::move(more);
      continue;
    }
    if (const std::int64_t known = examples::shared_users(all, more); known > 0) {
      examples::say(
          "{}: {} of its {} users also occur in an earlier file; their items are appended to the "
          "earlier ones\n",
          path, known, more.rows.rows());
    }
    append(all, more);
  }
  return all;
}

Vocabulary vocabulary_of(const Sequences& behaviour, const DataOptions& options) {
  Vocabulary vocabulary = Vocabulary::build(behaviour, {.min_count = options.min_item_count});
  if (vocabulary.items() >= 2) return vocabulary;
  throw OptionError(
      fmt::format("--min-item-count {}: expected at least 2 remaining items, got {} of {}",
                  options.min_item_count, vocabulary.items(), behaviour.items.size()));
}

Dataset prepare(const Sequences& behaviour, const Vocabulary& vocabulary,
                const DataOptions& options, std::int64_t length) {
  if (options.min_length < 2 || options.min_length > length + 1) {
    throw OptionError(fmt::format("--min-length: expected 2 to {} items with --length {}, got {}",
                                  length + 1, length, options.min_length));
  }
  const Dataset data =
      make_dataset(behaviour, vocabulary,
                   {.min_length = options.min_length,
                    .leave_last_out = options.leave_last_out,
                    .fractions = options.leave_last_out ? SplitFractions()
                                                        : examples::expect_split(options.split),
                    .split_seed = options.split_seed,
                    .piece_length = length + 1});
  expect_sequences("validation", data.validation.rows, options, length);
  expect_sequences("test", data.test.rows, options, length);
  fmt::print(
      "{} items; {} sequences to train on ({:.1f} items each, T = {}), {} to validate, {} to test, "
      "split {}\n",
      with_commas(data.vocabulary.items()), with_commas(data.training.rows()),
      static_cast<double>(data.training.total()) / static_cast<double>(data.training.rows()),
      length, with_commas(data.validation.rows.rows()), with_commas(data.test.rows.rows()),
      options.leave_last_out ? "in time (last items of each user)" : "at random");
  examples::flush_output();
  return data;
}

std::vector<std::string> test_users(const Sequences& behaviour, const Dataset& data,
                                    const DataOptions& options, std::int64_t length) {
  // In a random split, origin numbers the pieces; otherwise it is the row of the log.
  std::vector<std::int64_t> row_of_piece;
  if (!data.is_split_in_time) {
    row_of_piece = cut(encode(behaviour, data.vocabulary),
                       {.length = length + 1, .min_length = options.min_length})
                       .origin;
  }
  std::vector<std::string> users;
  for (const std::int64_t origin : data.test.origin) {
    const std::int64_t row =
        data.is_split_in_time ? origin : row_of_piece[static_cast<std::size_t>(origin)];
    users.push_back(examples::user_name(behaviour, row));
  }
  return users;
}

std::uint64_t fingerprint(const Dataset& data) {
  Split split;
  const RaggedIds* const parts[] = {&data.training, &data.validation.rows, &data.test.rows};
  std::vector<std::int64_t>* const numbers[] = {&split.train, &split.valid, &split.test};
  const std::vector<std::size_t> part_of = part_of_each(data);
  DataHash hash;
  hash.add(std::ssize(part_of));  // the rows in their order, hashed as RaggedIds are
  for (std::int64_t row = 0; row < std::ssize(part_of); ++row) {
    const std::size_t part = part_of[static_cast<std::size_t>(row)];
    hash.add((*parts[part])[std::ssize(*numbers[part])]);
    numbers[part]->push_back(row);
  }
  return hash.add(split).value();
}

}  // namespace refrain::cmnrec
