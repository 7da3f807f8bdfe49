#pragma once
/// The ranks of an MPI job, in a program that is built with MPI.

#include <chrono>
#include <memory>

#include "common/processes.hpp"
#if defined(REFRAIN_PROGRAMS_WITH_MPI)
#include "refrain/distributed/mpi.hpp"
#endif

namespace refrain::examples {

#if defined(REFRAIN_PROGRAMS_WITH_MPI)
inline constexpr JoinRanks join_ranks = [](std::chrono::milliseconds deadline) {
  return mpi_world({.deadline = deadline});
};
#else
inline constexpr JoinRanks join_ranks = nullptr;
#endif

}  // namespace refrain::examples
