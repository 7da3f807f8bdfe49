#pragma once
/// States of all users in one file.

#include <string>

#include "serve/service.hpp"

namespace refrain::serve {

/// Keeps a file of states to one process, so that no second one overwrites the users of the first.
/// The lock is a file beside it, "<path>.lock", which goes with the object; what a killed process
/// leaves of it locks nothing.
class StatesLock {
 public:
  /// Throws DataError when another process has the lock, or when the file cannot be made.
  explicit StatesLock(const std::string& path);
  ~StatesLock();
  StatesLock(const StatesLock&) = delete;
  StatesLock& operator=(const StatesLock&) = delete;

  /// False on a file system that has no locks: nothing keeps another process away.
  bool is_held() const noexcept { return is_held_; }

 private:
  std::string path_;  ///< of the lock
  int descriptor_ = -1;
  bool is_held_ = true;
};

/// A line of JSON, {"user": "u1", "bytes": 4711}, and so many bytes, for each user; a last line
/// {"users": 2}. At any moment, and after a power failure, `path` is either what it was or
/// complete. Throws DataError.
void write_states(const std::string& path, const Service& service);

/// Hands over the users one by one. Throws DataError, perhaps after some of them, for a file that
/// is damaged, is no file of states, or has bytes behind its last line, as one made of two files
/// does.
void read_states(const std::string& path, const Service::TakeState& take);

}  // namespace refrain::serve
