#pragma once
/// Captured work: a CUDA graph and the memory that it uses.

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace refrain::cuda {

/// A captured CUDA graph. Its address is the key of its blocks in the memory pool.
struct Capture {
  cudaStream_t stream = nullptr;  ///< where the graph runs
  /// during the capture, null after it; a separate stream, because all work queued in it becomes
  /// part of the graph
  cudaStream_t capture = nullptr;
  cudaStream_t before = nullptr;  ///< the stream of the thread before the capture
  cudaGraphExec_t exec = nullptr;
  std::vector<void*> constants;  ///< page-locked copies of the host memory that the work reads
  std::int64_t operations = 0;
  std::int64_t kernels = 0;
  bool is_open = false;
};

/// The capture in progress on this thread, or null.
Capture* open_capture() noexcept;

/// Throws DeviceError when this thread captures a graph, because `what` waits for the device.
void expect_no_capture(const char* what);

/// Scope for a call that waits or allocates, which CUDA allows during a capture only in relaxed
/// mode.
class RelaxedCapture {
 public:
  RelaxedCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  ~RelaxedCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  RelaxedCapture(const RelaxedCapture&) = delete;
  RelaxedCapture& operator=(const RelaxedCapture&) = delete;

 private:
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

/// Starts a capture in `stream`. The calling thread queues its work in `capture`.
Capture* begin_capture(cudaStream_t stream);
void end_captured(Capture& captured);
/// Ends the capture if it is open, and frees everything but its device memory, which goes back to
/// the stream.
void destroy_captured(Capture* captured) noexcept;

/// A page-locked copy of host memory that lives as long as the capture in progress.
const void* kept_constant(const void* from, std::size_t bytes);

}  // namespace refrain::cuda
