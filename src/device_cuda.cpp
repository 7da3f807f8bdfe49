// The CUDA backend of the device layer: memory, copies, streams, events, captured work.

#include <cuda_runtime_api.h>
#include <nvtx3/nvToolsExt.h>

#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "kernels/cuda_check.hpp"
#include "src/capture_cuda.hpp"
#include "src/device_backend.hpp"
#include "src/staging_cuda.hpp"
#include "src/stream_pool.hpp"

namespace refrain::cuda {
namespace {

// ---- the device ----

/// the first GPU visible to the process; CUDA_VISIBLE_DEVICES chooses it
constexpr int the_device = 0;
constexpr int min_major = 8;  ///< minimum compute capability of the compiled kernels

/// Memory and streams belong to the device that is current when they are created.
void expect_the_device() {
  int device = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  if (device == the_device) return;
  throw DeviceError(detail::concat("Device::cuda: the current CUDA device of this thread is ",
                                   device, ", Refrain's is ", the_device, "; call cudaSetDevice(",
                                   the_device, ") or choose by CUDA_VISIBLE_DEVICES"));
}

bool is_available() noexcept {
  // On failure, as without a driver, the call leaves `count` unchanged.
  static const bool found = [] {
    int count = 0, major = 0;
    bool fits = cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
    fits = fits && cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, the_device) ==
                       cudaSuccess;
    cudaGetLastError();
    return fits && major >= min_major;
  }();
  return found;
}

struct DeviceMemory {
  static void* allocate(std::size_t bytes) {
    expect_the_device();
    const RelaxedCapture relaxed;
    void* block = nullptr;
    const cudaError_t status = cudaMalloc(&block, bytes);
    if (status == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      return nullptr;
    }
    check(status, "cudaMalloc");
    return block;
  }
  static void release(void* block) noexcept {
    if (cudaFree(block) != cudaSuccess) cudaGetLastError();
  }
  static bool wait() {
    if (open_capture() != nullptr) return false;
    check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    return true;
  }
};

/// State of the process. Never destroyed: tensors with static lifetime may be released after any
/// destructor here.
struct Process {
  StreamPool<DeviceMemory> pool;
  Staging staging;
  cudaStream_t stream = nullptr;

  Process() {
    expect_the_device();
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  }
};

Process& process() {
  static Process& instance = *new Process;
  return instance;
}

thread_local cudaStream_t switched = nullptr;  ///< set by a StreamScope or a capture

cudaStream_t current() { return switched != nullptr ? switched : process().stream; }

cudaStream_t queue_of(Stream stream) {
  return stream.handle != nullptr ? static_cast<cudaStream_t>(stream.handle) : current();
}

// ---- memory ----

/// The owner of the blocks that this thread allocates. A captured graph has memory of its own: work
/// between its launches must not reuse it.
const void* memory_queue() {
  if (const Capture* captured = open_capture()) return captured;
  return current();
}

/// With REFRAIN_CUDA_POOL=off every block is a separate allocation, so that compute-sanitizer
/// detects accesses outside it. This is slow.
bool is_pooled() noexcept {
  static const bool pooled = [] {
    const char* setting = std::getenv("REFRAIN_CUDA_POOL");
    return setting == nullptr || std::strcmp(setting, "off") != 0;
  }();
  return pooled;
}

void* allocate(std::size_t bytes) {
  if (is_pooled()) return process().pool.allocate(bytes, memory_queue());
  void* block = DeviceMemory::allocate(bytes > 0 ? bytes : 1);
  if (block == nullptr) throw OutOfMemory("cuda", bytes, 0);
  return block;
}

void release(void* block) noexcept {
  is_pooled() ? process().pool.release(block) : DeviceMemory::release(block);
}
PoolStats pool_stats() { return process().pool.stats(); }
void pool_reset_peak() { process().pool.reset_peak(); }
void pool_trim() {
  expect_no_capture("pool_trim");
  process().pool.trim();
}

void copy_within(void* to, const void* from, std::size_t bytes, Stream stream) {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, queue_of(stream)),
        "cudaMemcpyAsync");
}

void copy_to_device(void* to, const void* from, std::size_t bytes, Stream stream) {
  const cudaStream_t queue = queue_of(stream);
  if (open_capture() != nullptr) {
    check(cudaMemcpyAsync(to, kept_constant(from, bytes), bytes, cudaMemcpyHostToDevice, queue),
          "cudaMemcpyAsync");
  } else {
    process().staging.send(to, from, bytes, queue);
  }
}

void copy_to_host(void* to, const void* from, std::size_t bytes, Stream stream) {
  expect_no_capture("copy_bytes (device to host)");
  const cudaStream_t queue = queue_of(stream);
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, queue), "cudaMemcpyAsync");
  check(cudaStreamSynchronize(queue), "cudaStreamSynchronize");
}

void zero(void* block, std::size_t bytes, Stream stream) {
  check(cudaMemsetAsync(block, 0, bytes, queue_of(stream)), "cudaMemsetAsync");
}

// ---- streams ----

Stream current_stream() { return {current()}; }

Stream switch_stream(Stream stream) noexcept {
  return {std::exchange(switched, static_cast<cudaStream_t>(stream.handle))};
}

void synchronize(Stream stream) {
  expect_no_capture("synchronize");
  check(cudaStreamSynchronize(queue_of(stream)), "cudaStreamSynchronize");
}

Stream make_stream() {
  expect_the_device();
  process();
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  return {stream};
}

void destroy_stream(Stream stream) noexcept {
  const auto queue = static_cast<cudaStream_t>(stream.handle);
  cudaStreamSynchronize(queue);
  process().pool.hand_over(queue, process().stream);
  cudaStreamDestroy(queue);
  cudaGetLastError();
}

// ---- events ----

cudaEvent_t native_event(void* event) { return static_cast<cudaEvent_t>(event); }

void* make_event() {
  expect_the_device();
  process();
  cudaEvent_t event = nullptr;
  check(cudaEventCreate(&event), "cudaEventCreate");
  return event;
}

void destroy_event(void* event) noexcept {
  cudaEventDestroy(native_event(event));
  cudaGetLastError();
}

void record_event(void* event, Stream stream) {
  check(cudaEventRecord(native_event(event), queue_of(stream)), "cudaEventRecord");
}

void delay(void* event, Stream stream) {
  check(cudaStreamWaitEvent(queue_of(stream), native_event(event), 0), "cudaStreamWaitEvent");
}

void synchronize_event(void* event) {
  expect_no_capture("Event::synchronize");
  check(cudaEventSynchronize(native_event(event)), "cudaEventSynchronize");
}

bool has_passed(void* event) {
  expect_no_capture("Event::has_passed");
  const cudaError_t status = cudaEventQuery(native_event(event));
  if (status == cudaErrorNotReady) {
    cudaGetLastError();
    return false;
  }
  check(status, "cudaEventQuery");
  return true;
}

double milliseconds(void* from, void* to) {
  float elapsed = 0;
  check(cudaEventElapsedTime(&elapsed, native_event(from), native_event(to)),
        "cudaEventElapsedTime");
  return static_cast<double>(elapsed);
}

// ---- page-locked host memory ----

void* pinned_allocate(std::size_t bytes) {
  const RelaxedCapture relaxed;
  void* block = nullptr;
  const cudaError_t status = cudaMallocHost(&block, bytes > 0 ? bytes : 1);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    throw OutOfMemory("cpu", bytes, 0);
  }
  check(status, "cudaMallocHost");
  return block;
}

void pinned_release(void* block) noexcept {
  const RelaxedCapture relaxed;
  cudaFreeHost(block);
  cudaGetLastError();
}

void send(void* to, const void* pinned, std::size_t bytes, Stream stream) {
  const void* from = open_capture() != nullptr ? kept_constant(pinned, bytes) : pinned;
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, queue_of(stream)),
        "cudaMemcpyAsync");
}

void fetch(void* pinned, const void* from, std::size_t bytes, Stream stream) {
  check(cudaMemcpyAsync(pinned, from, bytes, cudaMemcpyDeviceToHost, queue_of(stream)),
        "cudaMemcpyAsync");
}

// ---- captured work ----

void* begin() {
  if (!is_pooled())
    throw Unsupported(
        "CapturedWork: expected the memory pool, got REFRAIN_CUDA_POOL=off; captured work "
        "allocates from the pool");
  Capture* captured = begin_capture(current());
  try {
    process().pool.keep(captured);
  } catch (...) {
    destroy_captured(captured);
    throw;
  }
  captured->before = std::exchange(switched, captured->capture);
  return captured;
}

void end(void* captured) {
  auto* made = static_cast<Capture*>(captured);
  switched = made->before;
  end_captured(*made);
}

void destroy(void* captured) noexcept {
  auto* made = static_cast<Capture*>(captured);
  if (made->is_open) switched = made->before;
  process().pool.hand_over(captured, made->stream);
  destroy_captured(made);
}

void run(const void* captured) {
  const auto& made = *static_cast<const Capture*>(captured);
  expect_no_capture("CapturedWork::run");
  check(cudaGraphLaunch(made.exec, made.stream), "cudaGraphLaunch");
}

std::int64_t operations(const void* captured) {
  return static_cast<const Capture*>(captured)->operations;
}
std::int64_t kernels(const void* captured) {
  return static_cast<const Capture*>(captured)->kernels;
}
bool is_capturing() noexcept { return open_capture() != nullptr; }

// ---- profiling ----

void push_range(const char* name) noexcept { nvtxRangePushA(name); }
void pop_range() noexcept { nvtxRangePop(); }

}  // namespace

const DeviceBackend& backend() noexcept {
  static constexpr DeviceBackend functions{.is_available = is_available,
                                           .allocate = allocate,
                                           .release = release,
                                           .pool_stats = pool_stats,
                                           .pool_reset_peak = pool_reset_peak,
                                           .pool_trim = pool_trim,
                                           .copy_within = copy_within,
                                           .copy_to_device = copy_to_device,
                                           .copy_to_host = copy_to_host,
                                           .zero = zero,
                                           .current_stream = current_stream,
                                           .switch_stream = switch_stream,
                                           .synchronize = synchronize,
                                           .make_stream = make_stream,
                                           .destroy_stream = destroy_stream,
                                           .make_event = make_event,
                                           .destroy_event = destroy_event,
                                           .record_event = record_event,
                                           .delay = delay,
                                           .synchronize_event = synchronize_event,
                                           .has_passed = has_passed,
                                           .milliseconds = milliseconds,
                                           .pinned_allocate = pinned_allocate,
                                           .pinned_release = pinned_release,
                                           .send = send,
                                           .fetch = fetch,
                                           .begin_capture = begin,
                                           .end_captured = end,
                                           .destroy_captured = destroy,
                                           .run_captured = run,
                                           .captured_operations = operations,
                                           .captured_kernels = kernels,
                                           .is_capturing = is_capturing,
                                           .push_range = push_range,
                                           .pop_range = pop_range};
  return functions;
}

}  // namespace refrain::cuda
