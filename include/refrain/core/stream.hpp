#pragma once
/// Streams, events, captured work, and page-locked host memory for transfers.
///
/// Work on Device::cuda is queued and runs asynchronously. Unless a StreamScope selects another
/// stream, all threads share one stream of the process, so threads may exchange tensors as on the
/// CPU. Only synchronize(), Event::synchronize() and copies of elements to the host
/// (Tensor::to(Device::cpu), item()) wait. On the CPU work has finished when a call returns; all of
/// this has no effect and no cost there.

#include <cstddef>
#include <cstdint>
#include <utility>

#include "refrain/core/device.hpp"
#include "refrain/core/export.hpp"

namespace refrain {

/// The stream of this thread's work when a call names no other: that of the innermost StreamScope,
/// otherwise the stream of the process. Throws Unsupported for an unavailable device.
REFRAIN_API Stream current_stream(Device device);

/// Waits until the work queued in the stream so far has finished; by default in the current stream.
/// Throws DeviceError when that work failed, and during a capture (CapturedWork).
REFRAIN_API void synchronize(Device device, Stream stream = {});

/// A stream in addition to that of the process.
///
/// The pool reuses a released block for later work of the stream that it was allocated for. A
/// tensor created in one stream and used in another must therefore outlive that use; an Event marks
/// its end. The destructor waits for the stream's work.
class REFRAIN_API OwnedStream {
 public:
  /// Throws Unsupported for an unavailable device, DeviceError when the driver fails.
  explicit OwnedStream(Device device);
  ~OwnedStream();
  OwnedStream(OwnedStream&& other) noexcept
      : device_(other.device_), stream_(std::exchange(other.stream_, {})) {}
  OwnedStream& operator=(OwnedStream&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(stream_, other.stream_);
    return *this;
  }

  Device device() const noexcept { return device_; }
  Stream get() const noexcept { return stream_; }

 private:
  Device device_;
  Stream stream_;
};

/// Sends work of this thread on a device to the given stream during its lifetime. Scopes nest.
class REFRAIN_API StreamScope {
 public:
  explicit StreamScope(const OwnedStream& stream);
  ~StreamScope();
  StreamScope(const StreamScope&) = delete;
  StreamScope& operator=(const StreamScope&) = delete;

 private:
  Device device_;
  Stream before_;
};

/// A point in the work of a stream.
class REFRAIN_API Event {
 public:
  /// Throws Unsupported for an unavailable device, DeviceError when the driver fails.
  explicit Event(Device device);
  ~Event();
  Event(Event&& other) noexcept
      : device_(other.device_), event_(std::exchange(other.event_, nullptr)) {}
  Event& operator=(Event&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(event_, other.event_);
    return *this;
  }

  /// Records the event after the work queued so far.
  void record(Stream stream = {});
  /// Makes later work of the stream wait for the event; the caller does not wait. An event that was
  /// never recorded delays nothing.
  void delay(Stream stream = {}) const;
  /// Waits until the work before the event has finished.
  void synchronize() const;
  /// True when the work before the event has finished.
  bool has_passed() const;
  /// Milliseconds from an earlier event to this one; both must have completed. On the CPU the time
  /// between the two record() calls.
  double milliseconds_since(const Event& earlier) const;

 private:
  Device device_;
  void* event_;
};

/// Page-locked host memory, which a device reads and writes asynchronously.
class REFRAIN_API PinnedBuffer {
 public:
  PinnedBuffer() = default;
  /// Memory for transfers with `device`.  Throws std::bad_alloc.
  PinnedBuffer(std::size_t bytes, Device device);
  ~PinnedBuffer();
  PinnedBuffer(PinnedBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        bytes_(std::exchange(other.bytes_, 0)),
        device_(other.device_) {}
  PinnedBuffer& operator=(PinnedBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(device_, other.device_);
    return *this;
  }

  void* data() noexcept { return data_; }
  const void* data() const noexcept { return data_; }
  std::size_t bytes() const noexcept { return bytes_; }

  /// Queues a copy of bytes [offset, offset + bytes) to a block on the buffer's device. The bytes
  /// must not change before the copy has run; an Event recorded after the call marks that point.
  void send(void* to, std::size_t offset, std::size_t bytes, Stream stream = {}) const;
  /// Queues a copy from a block on the buffer's device into bytes [offset, offset + bytes).
  void fetch(const void* from, std::size_t offset, std::size_t bytes, Stream stream = {});

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
  Device device_ = Device::cpu;
};

/// Work on a device that is captured once and launched any number of times (a CUDA graph).
///
///   // The constructor captures the work of step() without running it.
///   CapturedWork work(Device::cuda, [&] { step(); });
///   work.run();
///
/// Each run launches the same kernels on the same addresses with the same arguments. The captured
/// work therefore reads its inputs from tensors that outlive it and that the caller fills before
/// each run; arguments passed by value, such as a learning rate, keep the values of the capture.
/// Memory allocated during the capture belongs to the captured work; its results stay valid until
/// the next run. Host memory copied to the device during the capture is copied into the graph.
/// Operations that wait for the device throw DeviceError during the capture. The object must be
/// destroyed before the OwnedStream that it was captured in. The same work should have run once
/// uncaptured, so that the capture contains no one-time initialization.
class REFRAIN_API CapturedWork {
 public:
  /// Throws Unsupported on the CPU, DeviceError when the capture fails, and the exceptions of
  /// `work`; nothing is captured then.
  template <class Work>
  CapturedWork(Device device, Work&& work) {
    begin(device);
    try {
      work();
      end();
    } catch (...) {
      discard();
      throw;
    }
  }
  CapturedWork(CapturedWork&& other) noexcept
      : captured_(std::exchange(other.captured_, nullptr)) {}
  CapturedWork& operator=(CapturedWork&& other) noexcept {
    std::swap(captured_, other.captured_);
    return *this;
  }
  ~CapturedWork() { discard(); }

  /// Queues the work in the stream that it was captured in.
  void run() const;
  /// Kernels, copies and fills of one run.
  std::int64_t operations() const;
  /// Kernels of one run.
  std::int64_t kernels() const;

 private:
  void begin(Device device);
  void end();
  void discard() noexcept;

  void* captured_ = nullptr;
};

/// True while this thread captures work.
REFRAIN_API bool is_capturing() noexcept;

/// Marks a range of host code for the device's profiler (NVTX); no effect on the CPU.
class REFRAIN_API ProfileRange {
 public:
  ProfileRange(Device device, const char* name) noexcept : device_(device) {
    if (device_ != Device::cpu) push(name);
  }
  ~ProfileRange() {
    if (device_ != Device::cpu) pop();
  }
  ProfileRange(const ProfileRange&) = delete;
  ProfileRange& operator=(const ProfileRange&) = delete;

 private:
  static void push(const char* name) noexcept;
  static void pop() noexcept;

  Device device_;
};

}  // namespace refrain
