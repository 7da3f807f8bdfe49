#include "refrain/core/math_mode.hpp"

#include <atomic>

namespace refrain {
namespace {

std::atomic<MathMode> mode_of_process{MathMode::exact};

}  // namespace

MathMode math_mode() noexcept { return mode_of_process.load(std::memory_order_relaxed); }
void set_math_mode(MathMode mode) noexcept {
  mode_of_process.store(mode, std::memory_order_relaxed);
}

}  // namespace refrain
