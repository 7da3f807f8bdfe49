#pragma once
// Behaviour logs read line by line, kept in memory or not.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "refrain/data/readers.hpp"
#include "src/formats.hpp"
#include "src/line_reader.hpp"
#include "src/time_columns.hpp"

namespace refrain::detail {

/// One event of a log.
struct StreamedEvent {
  std::string_view user;
  std::int32_t item;  ///< its number in `items`
  std::int64_t time;  ///< 0 when the log has no times
  const StringTable& items;
};

/// What is known after a log has been streamed.
struct StreamedLog {
  StringTable items;  ///< item number -> original id
  bool has_times = false;
};

/// Calls function(event) for the events of a log of an event format, in the order of the file.
/// Throws as read_interactions().
StreamedLog stream_events(LineReader& reader, Format format, const ReadOptions& options,
                          const std::function<void(const StreamedEvent&)>& function);

/// Calls function(rows) after each line of a format with one sequence per line. The function may
/// clear the rows and the user numbers of both sides; the tables of users and items must stay.
/// Returns the rows that the function left. Throws as read_sequences() and read_transfer().
TransferSequences stream_rows(LineReader& reader, Format format, const ReadOptions& options,
                              const std::function<void(TransferSequences&)>& function);

/// All events of a log of an event format. Throws as read_interactions().
Interactions read_events(const std::string& path, const EventFormat& format,
                         const ReadOptions& options);

/// All rows of a format with one sequence per line. Throws as read_sequences() and read_transfer().
TransferSequences read_rows(const std::string& path, const RowFormat& format,
                            const ReadOptions& options);

/// Throws DataError for times that fall from line to line, where equal times keep the order of the
/// lines, which is the reverse one. stream_events() leaves this check to its caller, who knows the
/// times of each user.
void expect_rising_ties(const std::string& path, const TimeOrder& order);

}  // namespace refrain::detail
