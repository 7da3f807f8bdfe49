#pragma once
/// Devices, streams and memory pools.

#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <new>

#include "refrain/core/export.hpp"

namespace refrain {

/// A kind of device; Device::cuda is one GPU, chosen by CUDA_VISIBLE_DEVICES.
enum class Device : std::uint8_t { cpu, cuda };

constexpr const char* name(Device device) noexcept {
  return device == Device::cpu ? "cpu" : "cuda";
}

template <class Traits>
std::basic_ostream<char, Traits>& operator<<(std::basic_ostream<char, Traits>& out, Device device) {
  return out << name(device);
}

/// A queue of work on a device; the work of one stream runs in order. A null handle is the current
/// stream (core/stream.hpp). On the CPU the handle is null and every call has finished when it
/// returns.
struct Stream {
  void* handle = nullptr;
};

/// True when this build has a backend for the device and the machine has the device and, for a GPU,
/// its driver.
REFRAIN_API bool is_available(Device device) noexcept;

/// Counters of the memory pool of one device.
struct PoolStats {
  /// blocks requested from the operating system or driver since the start of the process
  std::int64_t system_allocations = 0;
  std::int64_t used_bytes = 0;       ///< bytes in live blocks
  std::int64_t peak_used_bytes = 0;  ///< largest used_bytes since the start or the last reset_peak
  std::int64_t held_bytes = 0;       ///< bytes in live and in cached blocks
};

/// A 64-byte aligned block from the device's pool. The pool keeps released blocks for reuse, so a
/// loop that repeats its sizes makes no system calls after its first iteration. On a GPU the block
/// belongs to the current stream. Throws Unsupported when the device is not available, OutOfMemory
/// when memory is exhausted or the size exceeds the device's memory, ShapeError when the size
/// exceeds the address space.
REFRAIN_API void* pool_allocate(std::size_t bytes, Device device);

/// Returns a block of pool_allocate(); `bytes` must be the requested size.
REFRAIN_API void pool_release(void* block, std::size_t bytes, Device device) noexcept;

/// The counters of the memory pool of a device.
REFRAIN_API PoolStats pool_stats(Device device = Device::cpu);
/// Sets peak_used_bytes to used_bytes.
REFRAIN_API void pool_reset_peak(Device device = Device::cpu);

/// Returns the cached blocks to the system. Waits for the device.
REFRAIN_API void pool_trim(Device device = Device::cpu);

/// Copies between or within devices. A copy from device to host has finished when the call returns;
/// other copies are ordered in the stream. Host memory may be changed or freed when the call
/// returns: it has been read, on a GPU into page-locked staging memory.
REFRAIN_API void copy_bytes(void* to, Device to_device, const void* from, Device from_device,
                            std::size_t bytes, Stream stream = {});

/// Fills a block with zero bytes.
REFRAIN_API void zero_bytes(void* block, Device device, std::size_t bytes, Stream stream = {});

/// Repeats the first `period` bytes of a block until `bytes` are filled; `bytes` is a multiple of
/// `period`.
REFRAIN_API void repeat_bytes(void* block, Device device, std::size_t period, std::size_t bytes,
                              Stream stream = {});

/// Standard allocator on the CPU pool, for the small objects of a training step: they make no
/// system calls either.
template <class T>
struct PoolAllocator {
  using value_type = T;
  PoolAllocator() = default;
  template <class U>
  PoolAllocator(const PoolAllocator<U>&) noexcept {
  }  // NOLINT(google-explicit-constructor): allocators convert
  T* allocate(std::size_t count) {
    if (count > ~std::size_t{0} / sizeof(T)) throw std::bad_array_new_length();
    return static_cast<T*>(pool_allocate(count * sizeof(T), Device::cpu));
  }
  void deallocate(T* block, std::size_t count) noexcept {
    pool_release(block, count * sizeof(T), Device::cpu);
  }
  friend bool operator==(const PoolAllocator&, const PoolAllocator&) noexcept { return true; }
};

}  // namespace refrain
