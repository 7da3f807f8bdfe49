#pragma once
/// A GPU of the tests: its memory is memory of the host, and its kernels are those of the CPU.
/// Device::cuda is available in a program that links host_gpu.cpp. Tensors on it refuse access from
/// the host like those on a GPU.

#include <atomic>
#include <cstddef>

namespace refrain::test::host_gpu {

/// False: no event passes, as when the work before it never ends.
inline std::atomic<bool> work_ends{true};
/// False: the machine has no GPU.
inline std::atomic<bool> is_there{true};
/// True: each thread captures work.
inline std::atomic<bool> is_capturing{false};
/// Bytes that were copied between the GPU and page-locked memory.
inline std::atomic<std::size_t> bytes_fetched{0}, bytes_sent{0};

/// The stream of the process.
void* stream() noexcept;

}  // namespace refrain::test::host_gpu
