#pragma once
/// The functions of a device other than the CPU: one table, filled by its backend.

#include <cstddef>
#include <cstdint>

#include "refrain/core/device.hpp"

namespace refrain {

/// Streams, events and captures are opaque handles of the backend. A null stream is the current
/// one.
struct DeviceBackend {
  bool (*is_available)() noexcept;

  void* (*allocate)(std::size_t bytes);
  void (*release)(void* block) noexcept;
  PoolStats (*pool_stats)();
  void (*pool_reset_peak)();
  void (*pool_trim)();

  void (*copy_within)(void* to, const void* from, std::size_t bytes, Stream stream);
  void (*copy_to_device)(void* to, const void* from, std::size_t bytes, Stream stream);
  void (*copy_to_host)(void* to, const void* from, std::size_t bytes, Stream stream);
  void (*zero)(void* block, std::size_t bytes, Stream stream);

  Stream (*current_stream)();
  /// sets the stream of this thread and returns the previous one
  Stream (*switch_stream)(Stream stream) noexcept;
  void (*synchronize)(Stream stream);
  Stream (*make_stream)();
  void (*destroy_stream)(Stream stream) noexcept;

  void* (*make_event)();
  void (*destroy_event)(void* event) noexcept;
  void (*record_event)(void* event, Stream stream);
  void (*delay)(void* event, Stream stream);
  void (*synchronize_event)(void* event);
  bool (*has_passed)(void* event);
  double (*milliseconds)(void* from, void* to);

  void* (*pinned_allocate)(std::size_t bytes);
  void (*pinned_release)(void* block) noexcept;
  void (*send)(void* to, const void* pinned, std::size_t bytes, Stream stream);
  void (*fetch)(void* pinned, const void* from, std::size_t bytes, Stream stream);

  void* (*begin_capture)();
  void (*end_captured)(void* captured);
  void (*destroy_captured)(void* captured) noexcept;
  void (*run_captured)(const void* captured);
  std::int64_t (*captured_operations)(const void* captured);
  std::int64_t (*captured_kernels)(const void* captured);
  bool (*is_capturing)() noexcept;

  void (*push_range)(const char* name) noexcept;
  void (*pop_range)() noexcept;
};

namespace cuda {
const DeviceBackend& backend() noexcept;
}

}  // namespace refrain
