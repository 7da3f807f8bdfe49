#include "refrain/core/device.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "refrain/core/error.hpp"
#include "refrain/core/stream.hpp"
#include "src/device_backend.hpp"
#include "src/device_cpu.hpp"

namespace refrain {
namespace {

/// The CUDA backend, or null in a build without one.
const DeviceBackend* cuda_backend() noexcept {
#if defined(REFRAIN_HAS_CUDA)
  return &cuda::backend();
#else
  return nullptr;
#endif
}

/// The backend of a device other than the CPU. Throws Unsupported when the build or the machine
/// lacks it.
const DeviceBackend& require(const char* what) {
  const DeviceBackend* found = cuda_backend();
  if (found == nullptr) {
    throw Unsupported(detail::concat(
        what, ": Device::cuda is not available: this build has no CUDA kernels (configure with ",
        "REFRAIN_CUDA=ON); use Device::cpu"));
  }
  if (!found->is_available()) {
    throw Unsupported(detail::concat(
        what, ": Device::cuda is not available: this machine has no supported GPU or driver; use ",
        "Device::cpu"));
  }
  return *found;
}

/// A CPU event is the time at which it was recorded.
using Clock = std::chrono::steady_clock;

Clock::time_point& time_of(void* event) { return *static_cast<Clock::time_point*>(event); }

}  // namespace

bool is_available(Device device) noexcept {
  if (device == Device::cpu) return true;
  const DeviceBackend* found = cuda_backend();
  return found != nullptr && found->is_available();
}

void* pool_allocate(std::size_t bytes, Device device) {
  return device == Device::cpu ? cpu::allocate(bytes) : require("pool_allocate").allocate(bytes);
}

void pool_release(void* block, std::size_t bytes, Device device) noexcept {
  if (block == nullptr) return;
  if (device == Device::cpu) {
    cpu::release(block, bytes);
  } else if (const DeviceBackend* found = cuda_backend()) {
    found->release(block);
  }
}

PoolStats pool_stats(Device device) {
  return device == Device::cpu ? cpu::stats() : require("pool_stats").pool_stats();
}

void pool_reset_peak(Device device) {
  device == Device::cpu ? cpu::reset_peak() : require("pool_reset_peak").pool_reset_peak();
}

void pool_trim(Device device) {
  device == Device::cpu ? cpu::trim() : require("pool_trim").pool_trim();
}

void copy_bytes(void* to, Device to_device, const void* from, Device from_device, std::size_t bytes,
                Stream stream) {
  if (to_device == Device::cpu && from_device == Device::cpu) {
    if (bytes > 0) std::memmove(to, from, bytes);
    return;
  }
  const DeviceBackend& backend = require("copy_bytes");
  if (bytes == 0) return;
  if (to_device == Device::cpu) {
    backend.copy_to_host(to, from, bytes, stream);
  } else if (from_device == Device::cpu) {
    backend.copy_to_device(to, from, bytes, stream);
  } else {
    backend.copy_within(to, from, bytes, stream);
  }
}

void zero_bytes(void* block, Device device, std::size_t bytes, Stream stream) {
  if (device != Device::cpu) {
    const DeviceBackend& backend = require("zero_bytes");
    if (bytes > 0) backend.zero(block, bytes, stream);
  } else if (bytes > 0) {
    std::memset(block, 0, bytes);
  }
}

void repeat_bytes(void* block, Device device, std::size_t period, std::size_t bytes,
                  Stream stream) {
  for (std::size_t done = period; period > 0 && done < bytes;) {
    const std::size_t more = std::min(done, bytes - done);
    copy_bytes(static_cast<char*>(block) + done, device, block, device, more, stream);
    done += more;
  }
}

// ---- streams ----

Stream current_stream(Device device) {
  return device == Device::cpu ? Stream() : require("current_stream").current_stream();
}

void synchronize(Device device, Stream stream) {
  if (device != Device::cpu) require("synchronize").synchronize(stream);
}

OwnedStream::OwnedStream(Device device)
    : device_(device),
      stream_(device == Device::cpu ? Stream() : require("OwnedStream").make_stream()) {}

OwnedStream::~OwnedStream() {
  if (stream_.handle != nullptr) cuda_backend()->destroy_stream(stream_);
}

StreamScope::StreamScope(const OwnedStream& stream)
    : device_(stream.device()),
      before_(device_ == Device::cpu ? Stream()
                                     : require("StreamScope").switch_stream(stream.get())) {}

StreamScope::~StreamScope() {
  if (device_ != Device::cpu) cuda_backend()->switch_stream(before_);
}

// ---- events ----

Event::Event(Device device)
    : device_(device),
      event_(device == Device::cpu ? new Clock::time_point() : require("Event").make_event()) {}

Event::~Event() {
  if (event_ == nullptr) return;
  if (device_ == Device::cpu) {
    delete &time_of(event_);
  } else {
    cuda_backend()->destroy_event(event_);
  }
}

void Event::record(Stream stream) {
  if (device_ == Device::cpu) {
    time_of(event_) = Clock::now();
  } else {
    require("Event::record").record_event(event_, stream);
  }
}

void Event::delay(Stream stream) const {
  if (device_ != Device::cpu) require("Event::delay").delay(event_, stream);
}

void Event::synchronize() const {
  if (device_ != Device::cpu) require("Event::synchronize").synchronize_event(event_);
}

bool Event::has_passed() const {
  return device_ == Device::cpu || require("Event::has_passed").has_passed(event_);
}

double Event::milliseconds_since(const Event& earlier) const {
  if (device_ != earlier.device_)
    throw DeviceError(detail::concat("Event::milliseconds_since: expected an earlier event on ",
                                     device_, ", got one on ", earlier.device_));
  if (device_ == Device::cpu) {
    return std::chrono::duration<double, std::milli>(time_of(event_) - time_of(earlier.event_))
        .count();
  }
  return require("Event::milliseconds_since").milliseconds(earlier.event_, event_);
}

// ---- host memory for transfers ----

PinnedBuffer::PinnedBuffer(std::size_t bytes, Device device) : bytes_(bytes), device_(device) {
  data_ =
      device == Device::cpu ? cpu::allocate(bytes) : require("PinnedBuffer").pinned_allocate(bytes);
}

PinnedBuffer::~PinnedBuffer() {
  if (data_ == nullptr) return;
  if (device_ == Device::cpu) {
    cpu::release(data_, bytes_);
  } else {
    cuda_backend()->pinned_release(data_);
  }
}

void PinnedBuffer::send(void* to, std::size_t offset, std::size_t bytes, Stream stream) const {
  if (offset > bytes_ || bytes > bytes_ - offset) {
    throw ShapeError(detail::concat("PinnedBuffer::send: expected bytes within [0, ", bytes_,
                                    "), got [", offset, ", ", offset + bytes, ")"));
  }
  if (bytes == 0) return;
  const char* from = static_cast<const char*>(data_) + offset;
  if (device_ == Device::cpu) {
    std::memmove(to, from, bytes);
  } else {
    require("PinnedBuffer::send").send(to, from, bytes, stream);
  }
}

void PinnedBuffer::fetch(const void* from, std::size_t offset, std::size_t bytes, Stream stream) {
  if (offset > bytes_ || bytes > bytes_ - offset) {
    throw ShapeError(detail::concat("PinnedBuffer::fetch: expected bytes within [0, ", bytes_,
                                    "), got [", offset, ", ", offset + bytes, ")"));
  }
  if (bytes == 0) return;
  char* to = static_cast<char*>(data_) + offset;
  if (device_ == Device::cpu) {
    std::memmove(to, from, bytes);
  } else {
    require("PinnedBuffer::fetch").fetch(to, from, bytes, stream);
  }
}

// ---- captured work ----

void CapturedWork::begin(Device device) {
  if (device == Device::cpu)
    throw Unsupported(
        "CapturedWork: expected Device::cuda, got Device::cpu, which runs work immediately");
  captured_ = require("CapturedWork").begin_capture();
}

void CapturedWork::end() { cuda_backend()->end_captured(captured_); }

void CapturedWork::discard() noexcept {
  if (captured_ != nullptr) cuda_backend()->destroy_captured(std::exchange(captured_, nullptr));
}

void CapturedWork::run() const { require("CapturedWork::run").run_captured(captured_); }
std::int64_t CapturedWork::operations() const {
  return require("CapturedWork::operations").captured_operations(captured_);
}
std::int64_t CapturedWork::kernels() const {
  return require("CapturedWork::kernels").captured_kernels(captured_);
}

bool is_capturing() noexcept {
  const DeviceBackend* found = cuda_backend();
  return found != nullptr && found->is_capturing();
}

void ProfileRange::push(const char* name) noexcept {
  if (const DeviceBackend* found = cuda_backend()) found->push_range(name);
}

void ProfileRange::pop() noexcept {
  if (const DeviceBackend* found = cuda_backend()) found->pop_range();
}

}  // namespace refrain
