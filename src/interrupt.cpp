#include "refrain/train/interrupt.hpp"

#include <array>
#include <atomic>
#include <csignal>

#include "refrain/core/error.hpp"

namespace refrain {
namespace {

std::atomic<bool> flag{false};
static_assert(std::atomic<bool>::is_always_lock_free,
              "a signal handler may access only lock-free atomics");

// The C library calls the handler. `static` keeps the name "on_signal" out of the symbol table.
extern "C" {
static void on_signal(int) { flag.store(true, std::memory_order_relaxed); }
}

constexpr std::array<int, 2> signals{SIGINT, SIGTERM};

}  // namespace

struct InterruptGuard::Handlers {
  std::array<struct sigaction, signals.size()> actions{};
};

InterruptGuard::InterruptGuard() : before_(std::make_unique<Handlers>()) {
  clear();
  struct sigaction action = {};
  action.sa_handler = on_signal;
  action.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);
  ::sigemptyset(&action.sa_mask);
  for (std::size_t i = 0; i < signals.size(); ++i) {
    if (::sigaction(signals[i], &action, &before_->actions[i]) == 0) continue;
    const int refused = signals[i];
    while (i-- > 0) ::sigaction(signals[i], &before_->actions[i], nullptr);
    throw Error(detail::concat("InterruptGuard: no handler can be installed for signal ", refused));
  }
}

InterruptGuard::~InterruptGuard() {
  for (std::size_t i = 0; i < signals.size(); ++i)
    ::sigaction(signals[i], &before_->actions[i], nullptr);
}

bool InterruptGuard::requested() noexcept { return flag.load(std::memory_order_relaxed); }
void InterruptGuard::request() noexcept { flag.store(true, std::memory_order_relaxed); }
void InterruptGuard::clear() noexcept { flag.store(false, std::memory_order_relaxed); }

}  // namespace refrain
