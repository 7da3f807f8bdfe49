#pragma once
/// Ranks as threads of one process, for tests.

#include <chrono>
#include <cstdint>
#include <functional>

#include "refrain/distributed/communicator.hpp"

namespace refrain {

struct LocalGroupOptions {
  /// The longest time that a rank waits for the others in one call.
  std::chrono::milliseconds deadline = std::chrono::seconds(300);
  /// The time that a rank sleeps before collective `call`, counted from 1; empty: no delays.
  std::function<std::chrono::microseconds(int rank, std::int64_t call)> delay;
};

/// Runs a function on R ranks, each a thread. The transport copies memory and checks every call:
/// ranks in different functions or with different sizes, a rank that has ended, and a rank that
/// does not call within the deadline are errors of all ranks instead of a deadlock.
class REFRAIN_API LocalGroup {
 public:
  /// Throws OptionError unless 1 <= ranks <= 1024 and the deadline is positive.
  explicit LocalGroup(int ranks, LocalGroupOptions options = {});

  /// Calls body(communicator) on every rank and returns when all have ended. When a rank throws,
  /// the pending or next call of every other rank throws a CommunicationError that names it, and
  /// the first exception is rethrown here.
  void run(const std::function<void(Communicator&)>& body) const;

 private:
  int ranks_;
  LocalGroupOptions options_;
};

}  // namespace refrain
