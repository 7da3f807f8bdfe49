#pragma once
/// Page-locked buffers for copies from pageable host memory to the GPU.

#include <cuda_runtime_api.h>

#include <array>
#include <cstddef>
#include <mutex>

namespace refrain::cuda {

/// A ring of page-locked slots. The host fills one slot while the GPU reads earlier ones, and waits
/// only when all slots belong to copies that have not finished. The source may be reused when
/// send() returns.
class Staging {
 public:
  void send(void* to, const void* from, std::size_t bytes, cudaStream_t stream);

 private:
  static constexpr std::size_t slot_bytes = std::size_t{256} << 10;

  struct Slot {
    void* data = nullptr;
    cudaEvent_t read = nullptr;  ///< recorded after the copy that reads the slot
  };

  void send_part(char* to, const char* from, std::size_t bytes, cudaStream_t stream);

  std::mutex mutex_;
  std::array<Slot, 16> slots_;
  std::size_t next_ = 0;
};

}  // namespace refrain::cuda
