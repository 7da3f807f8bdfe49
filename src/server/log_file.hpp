#pragma once
// The file of an event log: its lock, its format and its schema.

#include <memory>
#include <string>

#include "src/server/database.hpp"

namespace refrain::detail {

/// The exclusive use of a log by one object: a lock on the file PATH.lock, which the system
/// releases when the process ends. The file stays and is empty.
class LogLock {
 public:
  /// Throws DataError when the lock is taken or cannot be.
  explicit LogLock(const std::string& path);
  ~LogLock();
  LogLock(const LogLock&) = delete;
  LogLock& operator=(const LogLock&) = delete;

 private:
  int descriptor_;
};

/// The absolute path of a log, without symbolic links. Throws, and changes nothing, when it cannot
/// be one: OptionError for an empty path, DataError when there is something else than a log of this
/// or an older version, or nothing and `create` is false.
std::string expect_log_path(const std::string& path, bool create);

/// Opens a log whose lock is held, or creates it, ready to be written. Throws DataError; a file
/// that is no log or, with `check`, a damaged one is not changed.
std::unique_ptr<Database> open_log(const std::string& path, bool check);

/// Limits the memory for pages of a connection.
void set_cache(Database& database, std::int64_t bytes);

/// Moves everything from the write-ahead log PATH-wal into the file and empties PATH-wal. False
/// when another connection reads.
bool empty_write_ahead_log(Database& database);

/// Writes a copy of the log to `to`, which it replaces when the copy is on disk.
void copy_log(const std::string& path, const std::string& to);

}  // namespace refrain::detail
