#pragma once
/// A durable log of events: which user chose which item. Programs that include this header link
/// refrain::server.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "refrain/core/error.hpp"

namespace refrain {

/// An event as clients send it. Users and items are external ids of 1 to 1,024 bytes without NUL;
/// the log knows no vocabulary.
struct LogEvent {
  std::string user;
  std::string item;
  std::optional<std::int64_t> time{};  ///< in the unit of the client; the log does not read it
};

/// How far a source of events, such as one partition of a queue, has been read.
struct SourcePosition {
  std::string source;
  std::string position;  ///< in the source's own form: an offset, an id
};

/// The newest items of a user.
struct UserHistory {
  std::vector<std::string> items{};  ///< oldest first
  std::int64_t position = 0;         ///< of the newest event; 0: the user has none
  /// `items` holds all events of the user after the requested position, none is left out
  bool complete = true;
};

/// A model's state after the events of one user, for models whose state is no function of the
/// newest items.
struct StateSnapshot {
  std::string user;
  std::string model;          ///< the identity of the model
  std::int64_t position = 0;  ///< of the user's newest event in the state
  std::string bytes;
};

struct EventLogOptions {
  bool create = true;            ///< make the file if there is none
  bool check = true;             ///< read the whole file and check its structure and checksums
  bool keep_events = false;      ///< keep events that fold() has added to the histories
  std::int64_t history = 1'000;  ///< items that fold() keeps of each user
  std::int64_t cache_bytes = 64LL << 20U;  ///< memory for pages of the file
};

/// The log, one SQLite file PATH with PATH-wal and PATH-shm beside it.
///
///   EventLog log("events.sqlite");
///   log.append(events);                    // durable when the call returns
///   log.history("u1", 61).items;           // the newest items, oldest first
///
/// Every call that changes the log is one transaction: after a crash or a kill the log holds all of
/// it or nothing, and all of it once the call has returned. Each page of the file has a checksum.
/// One object at a time uses a file: it holds a lock on PATH.lock, which ends with the process
/// however that ends.
///
/// All functions may be called from many threads. One thread writes at a time; history() and
/// snapshot() do not wait for a transaction in progress.
///
/// Memory: names in caches of bounded size, cache_bytes, and about 16 bytes for each event and 150
/// for each user that fold() has not processed.
///
/// Functions throw DataError, with the file and the reason, when the file cannot be read or written
/// (full disk, damage, another program that uses it). A failed call changes nothing, and the log
/// stays usable. Arguments outside their range are OptionErrors.
class REFRAIN_API EventLog {
 public:
  static constexpr std::size_t max_name_bytes = 1'024;

  /// Opens or creates the log. Throws DataError, and changes nothing, when the path is no regular
  /// file, the file is no log or a damaged one, a newer version has written it, another process
  /// uses it, or it cannot be written; OptionError for an empty path or an option out of range.
  explicit EventLog(const std::string& path, const EventLogOptions& options = {});
  ~EventLog();
  EventLog(const EventLog&) = delete;
  EventLog& operator=(const EventLog&) = delete;

  /// Throws OptionError unless append() accepts the event.
  static void expect_valid(const LogEvent& event);

  /// Appends events in one transaction and returns the position of the first; the next ones follow
  /// without a gap. Positions start at 1, increase, and are never used twice. Without events: the
  /// position that the next event gets.
  std::int64_t append(std::span<const LogEvent> events);
  /// append() that stores the position of the events' source in the same transaction. A reader
  /// that continues from source_position() appends each event exactly once.
  std::int64_t append(std::span<const LogEvent> events, const SourcePosition& source);
  /// The position that the last append() stored for this source.
  std::optional<std::string> source_position(std::string_view source) const;

  /// The newest `count` items of a user among those after position `after`.
  UserHistory history(std::string_view user, std::int64_t count, std::int64_t after = 0) const;

  /// Moves events into the histories of their users, at most about `events` a call, so that other
  /// writers wait for a short time only. A pass moves the events that the log held when it began;
  /// returns true while its pass is unfinished:
  ///
  ///   while (log.fold()) {}
  ///
  /// A history keeps the newest items (EventLogOptions::history). The events are then removed, or
  /// kept if EventLogOptions::keep_events is set.
  bool fold(std::int64_t events = 2'000);

  /// Erases everything about a user; false for an unknown user. When it returns, the bytes of the
  /// files contain nothing of the user. Items that only this user chose go as well, unless fold()
  /// has dropped some of their events. Waits for a backup() that runs. Reads all events that fold()
  /// has not processed. Throws DataError if
  /// another program reads the file at this moment: the user is erased, and a repeated call removes
  /// the bytes.
  bool erase(std::string_view user);

  /// Stores snapshots in one transaction, and returns how many. Left out are those of unknown
  /// users, which may have been erased, and those older than the stored one or than the user's
  /// first event.
  std::int64_t put(std::span<const StateSnapshot> snapshots);
  /// The snapshot of a user for a model.
  std::optional<StateSnapshot> snapshot(std::string_view user, std::string_view model) const;
  /// Erases the snapshots of all models but one, at most `count` a call; returns how many.
  std::int64_t erase_snapshots_except(std::string_view model, std::int64_t count = 1'000);

  /// Calls visit(item, events) for every item, with the number of its events that were appended and
  /// not erased: their popularity. Appending goes on meanwhile; `visit` may not call
  /// for_each_item(), backup() or erase().
  void for_each_item(const std::function<void(std::string_view, std::int64_t)>& visit) const;

  struct Counts {
    std::int64_t users = 0;
    std::int64_t items = 0;     ///< distinct
    std::int64_t unfolded = 0;  ///< events that wait for fold()
    std::int64_t position = 0;  ///< of the newest event ever appended
  };
  Counts counts() const;

  /// Writes a copy of the log as of this moment, compact and complete in one file, and replaces
  /// `path` with it once it is on disk. Appending goes on meanwhile. A user who is erased later
  /// remains in the copy. Throws OptionError if `path` names the log itself.
  void backup(const std::string& path) const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace refrain
