#include "refrain/data/dataset.hpp"

#include <utility>

#include "refrain/core/text.hpp"
#include "refrain/data/data_hash.hpp"

namespace refrain {
namespace {

RaggedIds with_min_length(const RaggedIds& rows, std::int64_t min_length) {
  RaggedIds kept;
  for (std::int64_t row = 0; row < rows.rows(); ++row) {
    if (static_cast<std::int64_t>(rows[row].size()) >= min_length) kept.push_row(rows, row);
  }
  return kept;
}

HeldOut with_min_length(const HeldOut& part, std::int64_t min_length) {
  HeldOut kept;
  for (std::int64_t row = 0; row < part.rows.rows(); ++row) {
    if (static_cast<std::int64_t>(part.rows[row].size()) < min_length) continue;
    kept.rows.push_row(part.rows, row);
    kept.origin.push_back(part.origin[static_cast<std::size_t>(row)]);
  }
  return kept;
}

RaggedIds pieces_of(const RaggedIds& rows, const DatasetOptions& options) {
  if (options.piece_length == 0) return with_min_length(rows, options.min_length);
  return cut(rows, {.length = options.piece_length, .min_length = options.min_length}).rows;
}

void check(const DatasetOptions& options) {
  if (options.min_length < 2)
    throw OptionError(
        detail::concat("min_length: expected at least 2 items, one input and one to "
                       "predict, got ",
                       options.min_length));
  if (options.piece_length != 0 && options.piece_length < options.min_length)
    throw OptionError(detail::concat("piece_length: expected 0 or at least min_length (",
                                     options.min_length, "), got ", options.piece_length));
}

}  // namespace

Dataset make_dataset(const Sequences& log, const DatasetOptions& options) {
  Vocabulary vocabulary = Vocabulary::build(log, {.min_count = options.min_count});
  if (vocabulary.items() < 2) {
    throw OptionError(detail::concat("min_count ", options.min_count,
                                     ": expected at least 2 items to be ", "left, got ",
                                     vocabulary.items(), " of ", log.items.size()));
  }
  return make_dataset(log, std::move(vocabulary), options);
}

Dataset make_dataset(const Sequences& log, Vocabulary vocabulary, const DatasetOptions& options) {
  check(options);
  const RaggedIds sequences = encode(log, vocabulary);
  Dataset data;
  data.vocabulary = std::move(vocabulary);
  data.users = sequences.rows();
  data.events = sequences.total();
  data.is_split_in_time = options.leave_last_out;
  if (options.leave_last_out) {
    const LeaveLastOut parts = split_leave_last_out(sequences);
    data.training = pieces_of(parts.train, options);
    data.validation = with_min_length(parts.valid, options.min_length);
    data.test = with_min_length(parts.test, options.min_length);
  } else {
    const RaggedIds pieces = pieces_of(sequences, options);
    const Split split = split_random(pieces.rows(), options.fractions, options.split_seed);
    for (const std::int64_t row : split.train) data.training.push_row(pieces, row);
    for (const auto& [rows, part] :
         {std::pair{&split.valid, &data.validation}, {&split.test, &data.test}}) {
      part->is_unseen = true;
      for (const std::int64_t row : *rows) {
        part->rows.push_row(pieces, row);
        part->origin.push_back(row);
      }
    }
  }
  if (data.training.empty()) {
    throw OptionError(detail::concat("expected at least one training sequence, got none: none of ",
                                     counted(data.users, "user"), " has ", options.min_length,
                                     " known items left; see min_count and min_length"));
  }
  return data;
}

Dataset read_dataset(const std::string& path, const DatasetOptions& options) {
  ReadReport report;
  const Sequences log = read_sequences(path, {.format = options.format,
                                              .skip_bad_lines = options.skip_bad_lines,
                                              .in_file_order = options.in_file_order,
                                              .user_column = options.user_column,
                                              .item_column = options.item_column,
                                              .time_column = options.time_column,
                                              .report = &report});
  Dataset data = make_dataset(log, options);
  data.source = detail::concat(path, ", read as ", report.read_as);
  data.report = std::move(report);
  return data;
}

std::string Dataset::text() const {
  std::string text = source.empty() ? "" : source + "\n";
  if (!report.bad_lines.empty()) {
    const BadLine& first = report.bad_lines.front();
    text += detail::concat(
        counted(static_cast<std::int64_t>(report.bad_lines.size()), "malformed line"),
        " passed over; the first is line ", first.line, ": ", first.reason, "\n");
  }
  return text + detail::concat(counted(users, "user"), ", ", counted(vocabulary.items(), "item"),
                               ", ", counted(events, "event"), "; training on ",
                               counted(training.rows(), "sequence"), ", validation on ",
                               with_commas(validation.rows.rows()), ", test on ",
                               with_commas(test.rows.rows()),
                               is_split_in_time ? " (the last two items of each user)"
                                                : " (whole sequences, split at random)");
}

std::string Dataset::fingerprint() const {
  return DataHash().add(vocabulary).add(training).add(validation.rows).add(test.rows).text();
}

}  // namespace refrain
