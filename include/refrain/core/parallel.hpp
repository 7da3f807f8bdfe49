#pragma once
/// Parallel loops over threads. Results do not depend on which thread runs a task: tasks are
/// divided by size only, and each writes separate elements.

#include <cstdint>
#include <type_traits>

#include "refrain/core/export.hpp"

namespace refrain {

/// Number of threads that parallel loops use, including the calling thread. Initially the number of
/// cores on which this process may run, or REFRAIN_THREADS when set.
REFRAIN_API int threads() noexcept;

/// Sets threads(); 0 restores the initial value. Throws OptionError when negative or over 1024.
/// Must not be called while another thread runs an operation, whose scratch memory was sized for
/// the old number.
REFRAIN_API void set_threads(int count);

namespace detail {
using TaskFunction = void (*)(void* context, std::int64_t task, int worker);
REFRAIN_API void run_tasks(std::int64_t tasks, TaskFunction function, void* context);
REFRAIN_API bool set_serial(bool on) noexcept;  ///< for this thread; returns the previous value
}  // namespace detail

/// While an object of this class exists, parallel loops of its thread run on that thread only; for
/// servers in which each thread answers a request.
class SerialLoops {
 public:
  SerialLoops() noexcept : before_(detail::set_serial(true)) {}
  ~SerialLoops() { detail::set_serial(before_); }
  SerialLoops(const SerialLoops&) = delete;
  SerialLoops& operator=(const SerialLoops&) = delete;

 private:
  bool before_;
};

/// Calls function(task, worker) for every task in [0, tasks), at most once per worker at a time, 0
/// <= worker < threads(). Returns when all have finished. Tasks start in ascending order. The first
/// exception is rethrown after the other tasks have finished. A loop started inside a task, or
/// while another thread's loop occupies the workers, runs on the calling thread (worker 0).
/// Allocates no memory.
template <class Function>
void parallel_tasks(std::int64_t tasks, Function&& function) {
  using Callable = std::remove_reference_t<Function>;
  detail::run_tasks(
      tasks,
      [](void* context, std::int64_t task, int worker) {
        (*static_cast<Callable*>(context))(task, worker);
      },
      const_cast<void*>(static_cast<const void*>(&function)));
}

/// Calls function(begin, end) for consecutive ranges that cover [0, count), each at most `grain`
/// long.
template <class Function>
void parallel_for(std::int64_t count, std::int64_t grain, Function&& function) {
  if (count <= 0) return;
  const std::int64_t step = grain > 1 ? grain : 1;
  parallel_tasks((count + step - 1) / step, [&](std::int64_t task, int) {
    const std::int64_t begin = task * step;
    function(begin, count - begin < step ? count : begin + step);
  });
}

}  // namespace refrain
