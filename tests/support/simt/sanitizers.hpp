#pragma once
/// The sanitizer of this build, and the emulation's annotations for it: the running stack, and the
/// order of accesses.

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define REFRAIN_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define REFRAIN_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define REFRAIN_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define REFRAIN_TSAN 1
#endif
#endif

#if defined(REFRAIN_ASAN)
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(REFRAIN_TSAN)
#include <sanitizer/tsan_interface.h>
extern "C" {
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}
#endif

namespace refrain::simt::emulation {

/// The sanitizer of this build, which determines the errors that tests expect to be detected.
#if defined(REFRAIN_ASAN)
inline constexpr bool under_asan = true;
#else
inline constexpr bool under_asan = false;
#endif
#if defined(REFRAIN_TSAN)
inline constexpr bool under_tsan = true;
#else
inline constexpr bool under_tsan = false;
#endif

/// From this call on ThreadSanitizer ignores the accesses of this fiber. Calls nest.
inline void begin_overlook() {
#if defined(REFRAIN_TSAN)
  AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
  AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
#endif
}
inline void end_overlook() {
#if defined(REFRAIN_TSAN)
  AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
  AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
#endif
}

/// Hides the emulation's own state from ThreadSanitizer, so that only the kernel's accesses are
/// checked.
class Overlook {
 public:
  Overlook() { begin_overlook(); }
  ~Overlook() { end_overlook(); }
  Overlook(const Overlook&) = delete;
  Overlook& operator=(const Overlook&) = delete;
};

/// A synchronization point: accesses before a release happen before those after an acquire.
class OrderPoint {
 public:
  void release() {
#if defined(REFRAIN_TSAN)
    __tsan_release(&token_);
#endif
  }
  void acquire() {
#if defined(REFRAIN_TSAN)
    __tsan_acquire(&token_);
#endif
  }

 private:
  [[maybe_unused]] char token_ = 0;
};

}  // namespace refrain::simt::emulation
