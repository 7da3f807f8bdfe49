#pragma once
/// Loops over threads. Which thread runs a task never changes a result: tasks are cut by size alone
/// and each writes its own part.

#include <cstdint>
#include <type_traits>

#include "refrain/core/export.hpp"

namespace refrain {

/// Threads that parallel loops use, the calling one included. Starts as the number of cores, or
/// REFRAIN_THREADS when set.
REFRAIN_API int threads() noexcept;

/// Sets threads(); 0 means what it was at the start. Throws OptionError when negative or over 1024.
/// Not to be called while another thread is inside an operation: its scratch memory was measured
/// for the old number.
REFRAIN_API void set_threads(int count);

namespace detail {
using TaskFunction = void (*)(void* context, std::int64_t task, int worker);
REFRAIN_API void run_tasks(std::int64_t tasks, TaskFunction function, void* context);
REFRAIN_API bool set_serial(bool on) noexcept;  ///< of the calling thread; returns what it was
}  // namespace detail

/// While one lives, parallel loops that its thread starts run on that thread alone: for servers
/// whose threads answer a request each.
class SerialLoops {
 public:
  SerialLoops() noexcept : before_(detail::set_serial(true)) {}
  ~SerialLoops() { detail::set_serial(before_); }
  SerialLoops(const SerialLoops&) = delete;
  SerialLoops& operator=(const SerialLoops&) = delete;

 private:
  bool before_;
};

/// Calls function(task, worker) for every task in [0, tasks), at most once per worker at a time; 0
/// <= worker < threads(). Returns when all have finished. Tasks start in rising order. The first
/// exception is rethrown after the others finished. A loop started inside a task, or while another
/// thread's loop occupies the workers, runs on the calling thread (worker 0). Allocates nothing.
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
