#pragma once
/// Communicators of GPU memory in the tests: the memory of the GPU is memory of the host
/// (host_gpu.hpp), so functions over host memory test the calls with Device::cuda.

#include <vector>

#include "refrain/distributed/communicator.hpp"

namespace refrain::test {

/// Makes each call with Device::cuda.
class GpuRanks final : public Communicator {
 public:
  explicit GpuRanks(Communicator& ranks)
      : Communicator(ranks.rank(), hosts_of(ranks)), ranks_(ranks) {}

 private:
  void transfer(const Transfer& transfer) override {
    const auto self = static_cast<std::size_t>(rank());
    const std::size_t other = self == 0 ? 1 : 0;
    switch (transfer.collective) {
      case Collective::broadcast: {
        const auto root = static_cast<std::size_t>(transfer.root);
        std::span<std::byte> bytes = transfer.from[root];
        std::vector<std::byte> own(transfer.to[other].begin(), transfer.to[other].end());
        if (self == root) bytes = own;
        return ranks_.broadcast(bytes, transfer.root, Device::cuda);
      }
      case Collective::all_gather: {
        std::vector<std::byte> own(transfer.to[other].size());
        std::vector<std::span<std::byte>> blocks(transfer.from.begin(), transfer.from.end());
        blocks[self] = own;
        return ranks_.all_gather(transfer.to[other], blocks, Device::cuda);
      }
      case Collective::exchange:
        return ranks_.exchange(transfer.to, transfer.from, Device::cuda);
    }
  }
  void end_all(const std::string& message) override { end_all_by(ranks_, message); }

  Communicator& ranks_;
};

}  // namespace refrain::test
