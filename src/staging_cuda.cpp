#include "src/staging_cuda.hpp"

#include <algorithm>
#include <cstring>

#include "kernels/cuda_check.hpp"

namespace refrain::cuda {

void Staging::send(void* to, const void* from, std::size_t bytes, cudaStream_t stream) {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (std::size_t done = 0; done < bytes; done += slot_bytes) {
    send_part(static_cast<char*>(to) + done, static_cast<const char*>(from) + done,
              std::min(slot_bytes, bytes - done), stream);
  }
}

void Staging::send_part(char* to, const char* from, std::size_t bytes, cudaStream_t stream) {
  Slot& slot = slots_[next_];
  next_ = (next_ + 1) % slots_.size();
  if (slot.data == nullptr) {
    if (slot.read == nullptr)
      check(cudaEventCreateWithFlags(&slot.read, cudaEventDisableTiming),
            "cudaEventCreateWithFlags");
    check(cudaMallocHost(&slot.data, slot_bytes), "cudaMallocHost");
  }
  check(cudaEventSynchronize(slot.read), "cudaEventSynchronize");
  std::memcpy(slot.data, from, bytes);
  check(cudaMemcpyAsync(to, slot.data, bytes, cudaMemcpyHostToDevice, stream), "cudaMemcpyAsync");
  check(cudaEventRecord(slot.read, stream), "cudaEventRecord");
}

}  // namespace refrain::cuda
