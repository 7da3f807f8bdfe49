#pragma once
/// Stopping on Ctrl-C with everything in order.

#include <memory>

#include "refrain/core/export.hpp"

namespace refrain {

/// While one lives, the first SIGINT or SIGTERM only sets a flag, which training loops look at
/// between steps; a second one ends the program as usual. The handlers of before come back with the
/// destructor. For programs; the library installs none by itself.
class REFRAIN_API InterruptGuard {
 public:
  /// Clears the flag and installs the handlers.  Throws Error when the system refuses.
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  /// True once a signal has come (or request() was called), until the next guard is made.
  static bool requested() noexcept;

  /// Sets the flag without a signal.
  static void request() noexcept;

  static void clear() noexcept;

 private:
  struct Handlers;
  std::unique_ptr<Handlers> before_;
};

}  // namespace refrain
