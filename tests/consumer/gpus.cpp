/// An outside program that uses the component nccl: one rank, which needs a GPU.

#include <cstdio>

#include <refrain/core/error.hpp>
#include <refrain/distributed/nccl.hpp>

int main() {
  try {
    const auto host = refrain::alone();
    std::printf("GPUs of %d ranks\n", refrain::nccl_ranks(*host)->size());
  } catch (const refrain::Unsupported& error) {
    std::printf("%s\n", error.what());
  }
}
