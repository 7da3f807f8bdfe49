#pragma once
/// How a rank waits for others: ranks may share cores, so it first only yields its core; then it
/// sleeps between polls.

#include <chrono>
#include <thread>

namespace refrain {

constexpr std::chrono::microseconds yield_time{1000}, sleep_time{100};

/// Called between two polls by a thread that has waited for `waited`.
inline void pause_polling(std::chrono::steady_clock::duration waited) {
  waited < yield_time ? std::this_thread::yield() : std::this_thread::sleep_for(sleep_time);
}

}  // namespace refrain
