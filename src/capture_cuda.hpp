#pragma once
/// Recorded work: a CUDA graph with the memory that it uses.

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace refrain::cuda {

/// What one recording consists of.  Its address names its shelf in the memory pool.
struct Capture {
  cudaStream_t stream = nullptr;  ///< where it runs
  cudaStream_t capture =
      nullptr;  ///< while it is made: its own stream, since all that is queued in it becomes part
                ///< of it
  cudaStream_t before = nullptr;  ///< the thread's own stream, to go back to
  cudaGraphExec_t exec = nullptr;
  std::vector<void*> constants;  ///< page-locked copies of the host memory that the work reads
  std::int64_t operations = 0;
  std::int64_t kernels = 0;
  bool is_open = false;
};

/// The recording that this thread is making, or null.
Capture* open_capture() noexcept;

/// Throws DeviceError when this thread is recording: `what` would wait for the device.
void expect_no_capture(const char* what);

/// For a call that waits or allocates, which CUDA allows a recording thread only in this mode.
class RelaxedCapture {
 public:
  RelaxedCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  ~RelaxedCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  RelaxedCapture(const RelaxedCapture&) = delete;
  RelaxedCapture& operator=(const RelaxedCapture&) = delete;

 private:
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

/// Starts a recording that will run in the stream. What this thread records is to be queued in
/// `capture`.
Capture* begin_capture(cudaStream_t stream);
void end_captured(Capture& recording);
/// Ends it if it is open; frees everything but its device memory, which goes back to the stream.
void destroy_captured(Capture* recording) noexcept;

/// A page-locked copy of host memory that lives as long as the open recording.
const void* kept_constant(const void* from, std::size_t bytes);

}  // namespace refrain::cuda
