#pragma once
/// Execution contexts with separate stacks, all on one operating system thread.

#include <cstddef>

namespace refrain::simt::emulation {

/// One context. Switching costs some nanoseconds: no system call, no scheduler.
class Fiber {
 public:
  /// The context of the calling thread.
  Fiber();
  /// A context that runs body(argument) when first switched to; body never returns.
  Fiber(void (*body)(void*), void* argument);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// Switches from this context, which is running, to another. Returns when that switches back.
  void switch_to(Fiber& next);

 private:
  struct Entry;  // the first function on a new stack

  void arrived();

  void* context_ = nullptr;  ///< saved state while this context is not running
  void (*body_)(void*) = nullptr;
  void* argument_ = nullptr;
  bool owns_stack_ = false;
  const void* stack_ = nullptr;  ///< lowest address
  std::size_t stack_bytes_ = 0;
  void* fake_stack_ = nullptr;  ///< AddressSanitizer's
  void* tsan_fiber_ = nullptr;  ///< ThreadSanitizer's
};

}  // namespace refrain::simt::emulation
