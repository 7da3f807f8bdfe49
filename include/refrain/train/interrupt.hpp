#pragma once
/// Graceful shutdown on SIGINT and SIGTERM.

#include <memory>

#include "refrain/core/export.hpp"

namespace refrain {

/// During its lifetime the first SIGINT or SIGTERM only sets a flag, which training loops check
/// between training steps; a second signal ends the program as usual. The destructor restores the
/// previous handlers. For programs; the library handles neither by itself.
class REFRAIN_API InterruptGuard {
 public:
  /// Clears the flag and installs the handlers. Throws Error when the system refuses.
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  /// True after a signal or request(), until the next guard is constructed.
  static bool requested() noexcept;

  /// Sets the flag without a signal.
  static void request() noexcept;

  /// Clears the flag.
  static void clear() noexcept;

 private:
  struct Handlers;
  std::unique_ptr<Handlers> before_;
};

}  // namespace refrain
