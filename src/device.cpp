#include "refrain/core/device.hpp"

#include <cstring>

#include "refrain/core/error.hpp"
#include "src/device_cpu.hpp"

namespace refrain {
namespace {

[[noreturn]] void no_cuda(const char* what) {
  throw Unsupported(concat(what, ": Device::cuda is not available: this build has no CUDA kernels; use Device::cpu"));
}

}  // namespace

bool is_available(Device device) noexcept { return device == Device::cpu; }

void* pool_allocate(std::size_t bytes, Device device) {
  if (device != Device::cpu) no_cuda("pool_allocate");
  return cpu::allocate(bytes);
}

void pool_release(void* block, std::size_t bytes, Device device) noexcept {
  if (block != nullptr && device == Device::cpu) cpu::release(block, bytes);
}

PoolStats pool_stats(Device device) {
  if (device != Device::cpu) no_cuda("pool_stats");
  return cpu::stats();
}

void pool_reset_peak(Device device) {
  if (device != Device::cpu) no_cuda("pool_reset_peak");
  cpu::reset_peak();
}

void pool_trim(Device device) {
  if (device != Device::cpu) no_cuda("pool_trim");
  cpu::trim();
}

void copy_bytes(void* to, Device to_device, const void* from, Device from_device, std::size_t bytes, Stream) {
  if (to_device != Device::cpu || from_device != Device::cpu) no_cuda("copy_bytes");
  if (bytes > 0) std::memmove(to, from, bytes);
}

void zero_bytes(void* block, Device device, std::size_t bytes, Stream) {
  if (device != Device::cpu) no_cuda("zero_bytes");
  if (bytes > 0) std::memset(block, 0, bytes);
}

}  // namespace refrain
