#include "src/nccl/functions.hpp"

#include <nccl.h>

#include <cstring>

namespace refrain {
namespace nccl {
namespace {

static_assert(sizeof(Id) == sizeof(ncclUniqueId));
static_assert(success == ncclSuccess && in_progress == ncclInProgress);
static_assert(bytes_type == ncclUint8);

constexpr Functions linked{
    .get_unique_id = [](Id* id) -> int {
      ncclUniqueId unique;
      const ncclResult_t result = ncclGetUniqueId(&unique);
      std::memcpy(id->data(), unique.internal, id->size());
      return result;
    },
    .init = [](ncclComm** comm, int ranks, const Id& id, int rank) -> int {
      ncclUniqueId unique;
      std::memcpy(unique.internal, id.data(), id.size());
      ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
      config.blocking = 0;
      return ncclCommInitRankConfig(comm, ranks, unique, rank, &config);
    },
    .group_start = []() -> int { return ncclGroupStart(); },
    .group_end = []() -> int { return ncclGroupEnd(); },
    .send = [](const void* from, std::size_t count, int type, int peer, ncclComm* comm,
               void* stream) -> int {
      return ncclSend(from, count, static_cast<ncclDataType_t>(type), peer, comm,
                      static_cast<cudaStream_t>(stream));
    },
    .receive = [](void* to, std::size_t count, int type, int peer, ncclComm* comm,
                  void* stream) -> int {
      return ncclRecv(to, count, static_cast<ncclDataType_t>(type), peer, comm,
                      static_cast<cudaStream_t>(stream));
    },
    .async_error = [](ncclComm* comm, int* state) -> int {
      ncclResult_t latest = ncclSuccess;
      const ncclResult_t result = ncclCommGetAsyncError(comm, &latest);
      *state = latest;
      return result;
    },
    .finalize = [](ncclComm* comm) -> int { return ncclCommFinalize(comm); },
    .destroy = [](ncclComm* comm) -> int { return ncclCommDestroy(comm); },
    .abort = [](ncclComm* comm) -> int { return ncclCommAbort(comm); },
    .error_string = [](int result) -> const char* {
      return ncclGetErrorString(static_cast<ncclResult_t>(result));
    },
    .last_error = [](ncclComm* comm) -> const char* { return ncclGetLastError(comm); },
    .gpu_id = [](char* text, int size) -> bool {
      int device = 0;
      return cudaGetDevice(&device) == cudaSuccess &&
             cudaDeviceGetPCIBusId(text, size, device) == cudaSuccess;
    },
};

}  // namespace

const Functions& functions() noexcept { return linked; }

}  // namespace nccl

std::unique_ptr<Communicator> nccl_ranks(Communicator& host, const NcclOptions& options) {
  return nccl::ranks(host, options, nccl::functions());
}

}  // namespace refrain
