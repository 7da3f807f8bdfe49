#include "common/gpus.hpp"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <string_view>
#include <system_error>
#include <vector>

namespace refrain::examples {
namespace {

/// The GPUs of this host that NVIDIA's driver knows.
int gpus_of_host() {
  std::error_code error;
  const std::filesystem::directory_iterator gpus("/proc/driver/nvidia/gpus", error);
  return error ? 0 : static_cast<int>(std::distance(begin(gpus), end(gpus)));
}

}  // namespace

std::string own_gpu(const char* visible, int count, int local) {
  std::vector<std::string> gpus;
  if (visible == nullptr) {
    for (int gpu = 0; gpu < count; ++gpu) gpus.push_back(std::to_string(gpu));
  } else {
    for (std::string_view left(visible); !left.empty();) {
      const std::size_t comma = std::min(left.find(','), left.size());
      gpus.emplace_back(left.substr(0, comma));
      left.remove_prefix(std::min(comma + 1, left.size()));
    }
  }
  return gpus.size() < 2 ? std::string() : gpus[static_cast<std::size_t>(local) % gpus.size()];
}

void choose_own_gpu(const Communicator& ranks) {
  int local = 0;
  for (int rank = 0; rank < ranks.rank(); ++rank)
    local += ranks.host(rank) == ranks.host(ranks.rank()) ? 1 : 0;
  const std::string gpu = own_gpu(std::getenv("CUDA_VISIBLE_DEVICES"), gpus_of_host(), local);
  if (!gpu.empty()) ::setenv("CUDA_VISIBLE_DEVICES", gpu.c_str(), 1);
}

}  // namespace refrain::examples
