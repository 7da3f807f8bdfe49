#include "support/simt/fiber.hpp"

#include <sys/mman.h>

#include <boost/context/detail/fcontext.hpp>
#include <new>

#include "support/simt/sanitizers.hpp"

namespace refrain::simt::emulation {
namespace {

namespace context = boost::context::detail;

constexpr std::size_t page_bytes = 4096;
constexpr std::size_t stack_size_bytes = (under_asan || under_tsan ? 256 : 64) * std::size_t{1024};

Fiber* leaving = nullptr;
Fiber* entering = nullptr;

/// A stack above a protected page: an overflow ends the program instead of overwriting another
/// stack.
char* make_stack() {
  void* const memory = mmap(nullptr, stack_size_bytes + page_bytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  mprotect(memory, page_bytes, PROT_NONE);
  return static_cast<char*>(memory) + page_bytes;
}

}  // namespace

struct Fiber::Entry {
  static void enter(context::transfer_t from) {
    leaving->context_ = from.fctx;
    Fiber& self = *entering;
    self.arrived();
    self.body_(self.argument_);
  }
};

Fiber::Fiber() {
#if defined(REFRAIN_TSAN)
  tsan_fiber_ = __tsan_get_current_fiber();
#endif
}

Fiber::Fiber(void (*body)(void*), void* argument)
    : body_(body), argument_(argument), owns_stack_(true) {
  char* const stack = make_stack();
  stack_ = stack;
  stack_bytes_ = stack_size_bytes;
  context_ = context::make_fcontext(stack + stack_size_bytes, stack_size_bytes, &Entry::enter);
#if defined(REFRAIN_TSAN)
  // Switches between fibers happen in code that ThreadSanitizer ignores, so a new fiber has to
  // start in that state.
  void* const here = __tsan_get_current_fiber();
  tsan_fiber_ = __tsan_create_fiber(0);
  __tsan_switch_to_fiber(tsan_fiber_, __tsan_switch_to_fiber_no_sync);
  begin_overlook();
  __tsan_switch_to_fiber(here, __tsan_switch_to_fiber_no_sync);
#endif
}

Fiber::~Fiber() {
  if (!owns_stack_) return;
#if defined(REFRAIN_TSAN)
  void* const here = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(tsan_fiber_, __tsan_switch_to_fiber_no_sync);
  end_overlook();
  __tsan_switch_to_fiber(here, __tsan_switch_to_fiber_no_sync);
  __tsan_destroy_fiber(tsan_fiber_);
#endif
  munmap(const_cast<char*>(static_cast<const char*>(stack_)) - page_bytes,
         stack_bytes_ + page_bytes);
}

/// Called first after a switch to this fiber.
void Fiber::arrived() {
#if defined(REFRAIN_ASAN)
  const void* left_stack = nullptr;
  std::size_t left_bytes = 0;
  __sanitizer_finish_switch_fiber(fake_stack_, &left_stack, &left_bytes);
  if (!leaving->owns_stack_) {  // the thread's own stack, whose bounds are recorded here
    leaving->stack_ = left_stack;
    leaving->stack_bytes_ = left_bytes;
  }
#endif
}

void Fiber::switch_to(Fiber& next) {
  leaving = this;
  entering = &next;
#if defined(REFRAIN_ASAN)
  __sanitizer_start_switch_fiber(&fake_stack_, next.stack_, next.stack_bytes_);
#endif
#if defined(REFRAIN_TSAN)
  __tsan_switch_to_fiber(next.tsan_fiber_, __tsan_switch_to_fiber_no_sync);
#endif
  const context::transfer_t from = context::jump_fcontext(next.context_, nullptr);
  leaving->context_ = from.fctx;
  arrived();
}

}  // namespace refrain::simt::emulation
