#pragma once
/// How this program connects its processes: MPI and NCCL, where it is built with them.

#include "common/processes.hpp"
#if defined(REFRAIN_PROGRAMS_WITH_MPI)
#include "refrain/distributed/mpi.hpp"
#endif
#if defined(REFRAIN_PROGRAMS_WITH_NCCL)
#include "refrain/distributed/nccl.hpp"
#endif

namespace refrain::examples {

inline constexpr Transports transports {
#if defined(REFRAIN_PROGRAMS_WITH_MPI)
  .join = [](std::chrono::milliseconds deadline) { return mpi_world({.deadline = deadline}); },
#endif
#if defined(REFRAIN_PROGRAMS_WITH_NCCL)
  .connect_gpus = [](Communicator& ranks, std::chrono::milliseconds deadline) {
    return nccl_ranks(ranks, {.deadline = deadline});
  },
#endif
};

}  // namespace refrain::examples
