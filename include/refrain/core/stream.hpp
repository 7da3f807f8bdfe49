#pragma once
/// The order of work on a device: streams, events, recorded work, and host memory that a device
/// reads by itself.
///
/// Work on Device::cuda is queued and runs later. One queue is enough for most programs: unless a
/// StreamScope says otherwise, all threads share one stream for the process, so tensors may be
/// handed between threads as on the CPU. Only what says so waits: synchronize(),
/// Event::synchronize(), and everything that brings elements to the host (Tensor::to(Device::cpu),
/// item()). On the CPU work has finished when a call returns; all of this does nothing there and
/// costs nothing.

#include <cstddef>
#include <cstdint>
#include <utility>

#include "refrain/core/device.hpp"
#include "refrain/core/export.hpp"

namespace refrain {

/// The stream that this thread's work goes to when none is named: that of the innermost
/// StreamScope, else the process's own. Throws Unsupported when there is no such device.
REFRAIN_API Stream current_stream(Device device);

/// Waits until the work queued in the stream so far has finished; no stream: the current one.
/// Throws DeviceError when any of it failed, or while work is being recorded (CapturedWork).
REFRAIN_API void synchronize(Device device, Stream stream = {});

/// A further stream, beside the process's own.
///
/// The pool hands a released block to later work of the stream that it was allocated for. So a
/// tensor made in one stream and used in another must outlive that use: let an Event say when it
/// has ended. Waits for its work when it is destroyed.
class REFRAIN_API OwnedStream {
 public:
  /// Throws Unsupported when there is no such device, DeviceError.
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

/// While one lives, work of this thread on a device goes to the given stream.  Scopes nest.
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
  /// Throws Unsupported when there is no such device, DeviceError.
  explicit Event(Device device);
  ~Event();
  Event(Event&& other) noexcept
      : device_(other.device_), event_(std::exchange(other.event_, nullptr)) {}
  Event& operator=(Event&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(event_, other.event_);
    return *this;
  }

  /// Moves the event behind the work queued so far.
  void record(Stream stream = {});
  /// Later work of the stream waits for the event; the caller does not. An event that was never
  /// recorded holds nothing up.
  void delay(Stream stream = {}) const;
  /// Waits until the work before the event has finished.
  void synchronize() const;
  bool has_passed() const;
  /// Milliseconds from an earlier event to this one; both must have passed. On the CPU the time
  /// between the two record() calls.
  double milliseconds_since(const Event& earlier) const;

 private:
  Device device_;
  void* event_;
};

/// Host memory that a device copies from and to by itself, while the host goes on.
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

  /// Queues a copy of bytes [offset, offset + bytes) to a block on the buffer's device. They must
  /// not change before the stream has passed this point: record an Event behind it.
  void send(void* to, std::size_t offset, std::size_t bytes, Stream stream = {}) const;
  /// Queues a copy from a block on the buffer's device into bytes [offset, offset + bytes).
  void fetch(const void* from, std::size_t offset, std::size_t bytes, Stream stream = {});

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
  Device device_ = Device::cpu;
};

/// Work on a device that was recorded once and runs again with one call (a CUDA graph).
///
///   // Queues nothing yet: it only notes what step() would have queued.
///   CapturedWork work(Device::cuda, [&] { step(); });
///   work.run();  // as often as wanted
///
/// The same kernels run on the same addresses with the same numbers each time. So what is recorded
/// reads its inputs from tensors that live as long as the recording and that the caller fills
/// before each run; numbers passed by value (a learning rate) are those of the recording. Memory
/// that is allocated while recording belongs to the recording; results stay valid until the next
/// run. Host memory copied to the device while recording is kept as it was. Whatever would wait for
/// the device throws DeviceError. It must end before the OwnedStream that it was recorded in. The
/// same work should have run once in the ordinary way before, so that nothing is prepared for the
/// first time.
class REFRAIN_API CapturedWork {
 public:
  /// Throws Unsupported on the CPU, DeviceError, and what `work` throws (then nothing was
  /// recorded).
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
      : recording_(std::exchange(other.recording_, nullptr)) {}
  CapturedWork& operator=(CapturedWork&& other) noexcept {
    std::swap(recording_, other.recording_);
    return *this;
  }
  ~CapturedWork() { discard(); }

  /// Queues the work in the stream that it was recorded in.
  void run() const;
  /// Kernels, copies and fills of one run.
  std::int64_t operations() const;
  std::int64_t kernels() const;

 private:
  void begin(Device device);
  void end();
  void discard() noexcept;

  void* recording_ = nullptr;
};

/// True while this thread records work.
REFRAIN_API bool is_capturing() noexcept;

/// Names a stretch of host code for the profiler of a device (NVTX); does nothing on the CPU.
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
