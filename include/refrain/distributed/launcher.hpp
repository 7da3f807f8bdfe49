#pragma once
/// Programs that were started several times by one command.

#include <string>

#include "refrain/core/export.hpp"

namespace refrain {

/// The environment variable by which an MPI launcher (mpirun, mpiexec, srun) tells this process
/// that it is one of several, such as "OMPI_COMM_WORLD_SIZE=4"; empty for a process on its own.
/// For programs without MPI, whose copies would all write the same files.
REFRAIN_API std::string launched_as_one_of_several();

}  // namespace refrain
