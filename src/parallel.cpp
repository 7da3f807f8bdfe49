#include "refrain/core/parallel.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "refrain/core/error.hpp"
#include "src/cores.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace refrain {
namespace {

constexpr int max_threads = 1024;

int default_threads() {
  if (const char* text = std::getenv("REFRAIN_THREADS")) {
    const int count = std::atoi(text);
    if (count > 0 && count <= max_threads) return count;
  }
  return std::min(max_threads, static_cast<int>(usable_cores().size()));
}

/// How long a worker spins for the next loop before it sleeps. The loops of a training step follow
/// each other within microseconds and requests to a server often within a millisecond; waking a
/// sleeping thread takes up to half a millisecond.
constexpr std::chrono::microseconds patience(1000);

void relax() noexcept {
#if defined(__x86_64__)
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

thread_local bool inside_task = false;

/// A fixed set of workers that sleep between loops.
///
/// `state_` holds, from high to low bits, the number of the loop, whether it is open, and how many
/// workers are inside. A worker enters a loop only while it is open, and the caller closes it when
/// no task is left; a worker that the system has not scheduled delays no loop.
class Workers {
 public:
  static Workers& instance() {
    static Workers workers;
    return workers;
  }

  int count() const noexcept { return count_.load(std::memory_order_relaxed); }

  void resize(int count) {
    const std::lock_guard<std::mutex> running(running_);
    stop();
    count_.store(count, std::memory_order_relaxed);
  }

  void run(std::int64_t tasks, detail::TaskFunction function, void* context) {
    if (tasks <= 0) return;
    if (tasks == 1 || count() == 1 || inside_task || !running_.try_lock()) {
      run_here(tasks, function, context);
      return;
    }
    const std::lock_guard<std::mutex> running(running_, std::adopt_lock);
    start();
    function_ = function;
    context_ = context;
    tasks_ = tasks;
    next_.store(0, std::memory_order_relaxed);
    error_ = nullptr;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      state_.store(
          ((number(state_.load(std::memory_order_relaxed)) + 1) << number_shift) | open_bit,
          std::memory_order_release);
    }
    wake_.notify_all();
    work(0);
    state_.fetch_and(~open_bit, std::memory_order_acq_rel);
    while ((state_.load(std::memory_order_acquire) & inside_mask) != 0) relax();
    if (error_ != nullptr) std::rethrow_exception(std::exchange(error_, nullptr));
  }

  ~Workers() { stop(); }

 private:
  static constexpr std::uint64_t inside_mask = 0xFFFF;
  static constexpr std::uint64_t open_bit = 0x10000;
  static constexpr int number_shift = 17;
  static std::uint64_t number(std::uint64_t state) noexcept { return state >> number_shift; }

  Workers() : count_(default_threads()) {}

  static void run_here(std::int64_t tasks, detail::TaskFunction function, void* context) {
    struct Restore {
      bool before;
      ~Restore() { inside_task = before; }
    } restore{inside_task};
    inside_task = true;
    std::exception_ptr error;
    for (std::int64_t task = 0; task < tasks; ++task) {
      try {
        function(context, task, 0);
      } catch (...) {
        if (error == nullptr) error = std::current_exception();
      }
    }
    if (error != nullptr) std::rethrow_exception(error);
  }

  void start() {
    if (static_cast<int>(threads_.size()) == count() - 1) return;
    quit_ = false;
    const std::uint64_t seen = number(state_.load());
    try {
      for (int worker = 1; worker < count(); ++worker) {
        threads_.emplace_back([this, worker, seen] { loop(worker, seen); });
      }
    } catch (...) {
      // The system refuses more threads. All workers end, so that no worker number is used twice.
      stop();
      throw;
    }
  }

  void stop() noexcept {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      quit_ = true;
    }
    wake_.notify_all();
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

  void loop(int worker, std::uint64_t seen) {
    const auto is_new = [&] { return number(state_.load(std::memory_order_acquire)) != seen; };
    for (;;) {
      if (!wait_awake(is_new)) {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return quit_ || is_new(); });
        if (!is_new()) return;
      }
      std::uint64_t state = state_.load(std::memory_order_acquire);
      seen = number(state);
      while ((state & open_bit) != 0 && number(state) == seen) {
        if (!state_.compare_exchange_weak(state, state + 1, std::memory_order_acq_rel)) continue;
        work(worker);
        state_.fetch_sub(1, std::memory_order_acq_rel);
        break;
      }
    }
  }

  /// Spins until is_new() is true; false when this thread should sleep instead. Where threads
  /// outnumber cores it does not spin.
  template <class IsNew>
  bool wait_awake(const IsNew& is_new) const {
    constexpr int looks = 64;  // between two readings of the clock
    if (count() > cores_) return is_new();
    const auto end = std::chrono::steady_clock::now() + patience;
    do {
      for (int look = 0; look < looks; ++look) {
        if (is_new()) return true;
        relax();
      }
    } while (std::chrono::steady_clock::now() < end);
    return is_new();
  }

  void work(int worker) noexcept {
    inside_task = true;
    for (;;) {
      const std::int64_t task = next_.fetch_add(1, std::memory_order_relaxed);
      if (task >= tasks_) break;
      try {
        function_(context_, task, worker);
      } catch (...) {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (error_ == nullptr) error_ = std::current_exception();
      }
    }
    inside_task = false;
  }

  const int cores_ = static_cast<int>(usable_cores().size());
  std::atomic<int> count_;
  std::mutex running_;  ///< held by the thread whose loop occupies the workers
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::thread> threads_;
  std::atomic<std::uint64_t> state_{0};
  std::atomic<std::int64_t> next_{0};
  std::int64_t tasks_ = 0;
  detail::TaskFunction function_ = nullptr;
  void* context_ = nullptr;
  std::exception_ptr error_;
  bool quit_ = false;
};

}  // namespace

int threads() noexcept { return Workers::instance().count(); }

void set_threads(int count) {
  if (count < 0 || count > max_threads) {
    throw OptionError(
        detail::concat("set_threads: expected 0 (all cores) to ", max_threads, ", got ", count));
  }
  Workers::instance().resize(count == 0 ? default_threads() : count);
}

namespace detail {
void run_tasks(std::int64_t tasks, TaskFunction function, void* context) {
  Workers::instance().run(tasks, function, context);
}
bool set_serial(bool on) noexcept { return std::exchange(inside_task, on); }
}  // namespace detail

}  // namespace refrain
