#pragma once
/// Page-locked memory through which ordinary host memory reaches the GPU.

#include <cuda_runtime_api.h>

#include <array>
#include <cstddef>
#include <mutex>

namespace refrain::cuda {

/// A ring of page-locked slots. A copy goes through it slot by slot: the host writes one while the
/// GPU reads those before, and waits only when the ring is full of copies that have not run yet.
/// When send() returns, the source has been read.
class Staging {
 public:
  void send(void* to, const void* from, std::size_t bytes, cudaStream_t stream);

 private:
  static constexpr std::size_t slot_bytes = std::size_t{256} << 10;

  struct Slot {
    void* data = nullptr;
    cudaEvent_t read = nullptr;  ///< behind the copy that reads the slot
  };

  void send_part(char* to, const char* from, std::size_t bytes, cudaStream_t stream);

  std::mutex mutex_;
  std::array<Slot, 16> slots_;
  std::size_t next_ = 0;
};

}  // namespace refrain::cuda
