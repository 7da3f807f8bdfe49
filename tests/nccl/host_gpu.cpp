/// The functions that a CUDA backend gives to the library (src/device_backend.hpp and
/// src/dispatch.cpp), with memory of the host. The program compiles src/device.cpp with
/// REFRAIN_HAS_CUDA and links this file in place of src/dispatch.cpp.

#include "nccl/host_gpu.hpp"

#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "kernels/cpu_levels.hpp"
#include "refrain/core/error.hpp"
#include "refrain/kernels/run.hpp"
#include "src/device_backend.hpp"

namespace refrain {
namespace {

using namespace test::host_gpu;

int process_stream = 0;
thread_local void* switched = nullptr;

void* current() noexcept { return switched != nullptr ? switched : &process_stream; }

/// Memory with a pattern, so that a result shows when it was not written.
void* allocate(std::size_t bytes) {
  const std::size_t size = (bytes + 64) / 64 * 64;
  void* block = std::aligned_alloc(64, size);
  if (block == nullptr) throw std::bad_alloc();
  return std::memset(block, 0xA5, size);
}
void release(void* block) noexcept { std::free(block); }

void copy(void* to, const void* from, std::size_t bytes, Stream) { std::memcpy(to, from, bytes); }

[[noreturn]] void refuse_capture() { throw Unsupported("the GPU of the tests captures no work"); }

constexpr DeviceBackend functions{
    .is_available = []() noexcept -> bool { return is_there; },
    .allocate = allocate,
    .release = release,
    .pool_stats = [] { return PoolStats(); },
    .pool_reset_peak = [] {},
    .pool_trim = [] {},
    .copy_within = copy,
    .copy_to_device = copy,
    .copy_to_host = copy,
    .zero = [](void* block, std::size_t bytes, Stream) { std::memset(block, 0, bytes); },
    .current_stream = [] { return Stream{current()}; },
    .switch_stream =
        [](Stream stream) noexcept { return Stream{std::exchange(switched, stream.handle)}; },
    .synchronize = [](Stream) {},
    .make_stream = [] { return Stream{new int}; },
    .destroy_stream = [](Stream stream) noexcept { delete static_cast<int*>(stream.handle); },
    .make_event = []() -> void* { return new int; },
    .destroy_event = [](void* event) noexcept { delete static_cast<int*>(event); },
    .record_event = [](void*, Stream) {},
    .delay = [](void*, Stream) {},
    .synchronize_event = [](void*) {},
    .has_passed = [](void*) -> bool { return work_ends; },
    .milliseconds = [](void*, void*) { return 0.0; },
    .pinned_allocate = allocate,
    .pinned_release = release,
    .send =
        [](void* to, const void* pinned, std::size_t bytes, Stream) {
          std::memcpy(to, pinned, bytes);
          bytes_sent += bytes;
        },
    .fetch =
        [](void* pinned, const void* from, std::size_t bytes, Stream) {
          std::memcpy(pinned, from, bytes);
          bytes_fetched += bytes;
        },
    .begin_capture = []() -> void* { refuse_capture(); },
    .end_captured = [](void*) {},
    .destroy_captured = [](void*) noexcept {},
    .run_captured = [](const void*) {},
    .captured_operations = [](const void*) { return std::int64_t{0}; },
    .captured_kernels = [](const void*) { return std::int64_t{0}; },
    .is_capturing = []() noexcept -> bool { return test::host_gpu::is_capturing; },
    .push_range = [](const char*) noexcept {},
    .pop_range = []() noexcept {},
};

}  // namespace

void* test::host_gpu::stream() noexcept { return &process_stream; }

const DeviceBackend& cuda::backend() noexcept { return functions; }

namespace kernels {

const Table& table(Device) { return cpu::best_table(); }

void detail::throw_absent(const char* name, Device device, const char* reason) {
  throw Unsupported(refrain::detail::concat(name, ", ", device, ": ", reason));
}

}  // namespace kernels
}  // namespace refrain
