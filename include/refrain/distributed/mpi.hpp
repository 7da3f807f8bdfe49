#pragma once
/// Processes that an MPI launcher started. Programs that include this header link refrain::mpi.

#include <chrono>
#include <memory>

#include "refrain/distributed/communicator.hpp"

namespace refrain {

struct MpiOptions {
  /// The longest time that a rank waits for the others in one call.
  std::chrono::milliseconds deadline = std::chrono::seconds(300);
};

/// All processes of this MPI job. Starts MPI unless the program has started it, and ends it with
/// the communicator if so; called once, by all processes, on the thread that then uses the
/// communicator.
///
/// Every call is polled, first yielding and after 1 ms sleeping, so that ranks may share cores. A
/// rank that waits longer than the deadline prints the ranks that did not answer and ends the job.
/// Errors of MPI are CommunicationErrors with the call, the other rank and the number of bytes; in
/// a program that has started MPI itself, its error handler of MPI_COMM_WORLD comes first.
/// abort() prints the reason and ends the job: MPI_Abort(), and 10 s later _exit(). The destructor
/// waits for the other ranks; while an exception unwinds the stack it ends the job instead.
///
/// Throws CommunicationError when MPI cannot be started or lacks MPI_THREAD_FUNNELED, OptionError
/// unless the deadline is positive.
REFRAIN_API std::unique_ptr<Communicator> mpi_world(const MpiOptions& options = {});

}  // namespace refrain
