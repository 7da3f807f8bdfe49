#pragma once
/// The functions of NCCL and CUDA that the transport calls: one table, so that tests can replace
/// them. No function of NCCL that adds is among them.

#include <array>
#include <cstddef>
#include <memory>

#include "refrain/distributed/nccl.hpp"

struct ncclComm;  // of NCCL

namespace refrain::nccl {

/// An identification of one group of ranks (ncclUniqueId).
using Id = std::array<char, 128>;

// Values of ncclResult_t and ncclDataType_t; functions.cpp compares them with NCCL's header.
constexpr int success = 0;
constexpr int in_progress = 7;
constexpr int bytes_type = 1;  ///< ncclUint8

/// Functions named after those of NCCL. Results are ncclResult_t.
struct Functions {
  int (*get_unique_id)(Id* id);
  /// ncclCommInitRankConfig() with blocking = 0: the call, and all later ones of the communicator,
  /// may return before they have ended.
  int (*init)(ncclComm** comm, int ranks, const Id& id, int rank);
  int (*group_start)();
  int (*group_end)();
  int (*send)(const void* from, std::size_t count, int type, int peer, ncclComm* comm,
              void* stream);
  int (*receive)(void* to, std::size_t count, int type, int peer, ncclComm* comm, void* stream);
  /// The state of the latest call: in_progress, success or an error.
  int (*async_error)(ncclComm* comm, int* state);
  int (*finalize)(ncclComm* comm);
  int (*destroy)(ncclComm* comm);
  int (*abort)(ncclComm* comm);
  const char* (*error_string)(int result);
  const char* (*last_error)(ncclComm* comm);

  /// The bus id of Device::cuda, such as "0000:3B:00.0", unique on a host; false on an error.
  bool (*gpu_id)(char* text, int size);
};

/// The functions of the linked NCCL.
const Functions& functions() noexcept;

/// nccl_ranks() with other functions, which must outlive the result.
std::unique_ptr<Communicator> ranks(Communicator& host, const NcclOptions& options,
                                    const Functions& functions);

}  // namespace refrain::nccl
