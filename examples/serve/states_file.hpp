#pragma once
/// A file with the states of all users.

#include <string>

#include "refrain/serve/service.hpp"

namespace refrain::serve {

/// Locks a file of states for one process, so that no other process overwrites its users. The lock
/// is the file "<path>.lock", which the destructor removes. The file that a killed process leaves
/// behind is not locked.
class StatesLock {
 public:
  /// Throws DataError when another process holds the lock, or when the file cannot be created.
  explicit StatesLock(const std::string& path);
  ~StatesLock();
  StatesLock(const StatesLock&) = delete;
  StatesLock& operator=(const StatesLock&) = delete;

  /// False on a file system without locks: no other process is excluded.
  bool is_held() const noexcept { return is_held_; }

 private:
  std::string path_;  ///< path of the lock file
  int descriptor_ = -1;
  bool is_held_ = true;
};

/// Writes for each user a line of JSON, {"user": "u1", "bytes": 4711}, and that number of bytes;
/// then a last line {"users": 2}. At any moment, even after a power failure, `path` is either
/// unchanged or complete. Throws DataError.
void write_states(const std::string& path, const Service& service);

/// Calls `take` for each user. Throws DataError, possibly after some users, for a file that is
/// damaged, is not a file of states, or has bytes after its last line.
void read_states(const std::string& path, const Service::TakeState& take);

}  // namespace refrain::serve
