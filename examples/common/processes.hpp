#pragma once
/// Processes that one launcher (mpirun, srun) starts for a command.

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "refrain/distributed/agreement.hpp"
#include "refrain/distributed/communicator.hpp"

namespace refrain::examples {

/// How several processes of one launcher may run a command.
enum class Launch : std::uint8_t {
  one,       ///< not at all: they would write the same files
  separate,  ///< each on its own (recommend --all --part)
  together,  ///< as the ranks of an MPI job, which train or measure one model
};

/// Joins the ranks of this MPI job (mpi_world()), with the time that one waits for another.
using JoinRanks = std::unique_ptr<Communicator> (*)(std::chrono::milliseconds deadline);
/// Connects the GPUs of the ranks (nccl_ranks()).
using ConnectGpus = std::unique_ptr<Communicator> (*)(Communicator& ranks,
                                                      std::chrono::milliseconds deadline);

/// How a program connects its processes; null where it is built without MPI or NCCL.
struct Transports {
  JoinRanks join = nullptr;
  ConnectGpus connect_gpus = nullptr;
};

/// The processes that run one command: one, or the ranks of an MPI job. Of several, the first one
/// alone prints and writes files; the others print only errors that the first one does not have.
class Processes {
 public:
  /// One process.
  Processes() = default;
  /// The ranks of a job. Takes standard output and say() from all processes but the first.
  Processes(std::unique_ptr<Communicator> ranks, ConnectGpus connect_gpus,
            std::chrono::milliseconds deadline);

  /// A process on its own.
  static Processes& alone();

  /// The ranks that compute together; null for one process.
  Communicator* ranks() const { return gpus_ != nullptr ? gpus_.get() : ranks_.get(); }
  int count() const { return ranks_ == nullptr ? 1 : ranks_->size(); }
  /// True for the process that prints and writes files.
  bool is_first() const { return ranks_ == nullptr || ranks_->rank() == 0; }

  /// Sets threads(). 0: of several processes each takes its share of the cores (thread_share()),
  /// unless REFRAIN_THREADS is set.
  void use_threads(std::int64_t count) const;

  /// Before the first use of the device of --device. On GPUs each of several processes gets its own
  /// one as far as its host has enough; NCCL connects GPUs that no two processes share, and the
  /// first process prints how bytes move.
  void use_device(Device device);

  /// Waits until all processes are ready to compute together, and does nothing when called again.
  /// When a process has failed before, the first one prints the errors, and all throw NotReady.
  void wait_for_all();
  struct NotReady {};

  /// Waits for all processes, and throws CommunicationError, with the differences, unless all have
  /// the same build and the same values of `own`.
  void expect_same(Identity own);

  /// Runs the command on each of several processes and returns the exit code. An error before
  /// wait_for_all(), or of the options, the handshake or the loss, is printed once if all have it,
  /// and otherwise with rank and host; all return 1. Any other error ends the job with exit code 1.
  int run(const char* program, const std::function<int()>& command);

 private:
  bool agree(const std::string& error);

  std::unique_ptr<Communicator> ranks_;
  ConnectGpus connect_gpus_ = nullptr;
  std::chrono::milliseconds deadline_{};
  std::unique_ptr<Communicator> gpus_;  ///< the same ranks, connected by NCCL
  int thread_share_ = 0;
  bool is_ready_ = false;
};

/// Calls command(processes) for the processes that a launcher started: `together` joins them by
/// `transports`, otherwise each is alone.
int run_launched(const char* program, Launch launch, const Transports& transports,
                 std::chrono::milliseconds deadline, const std::function<int(Processes&)>& command);

/// Throws OptionError when a launcher started this process as one of several, unless they run
/// separately or as connected ranks.
void expect_launch(const Processes& processes, Launch launch);

}  // namespace refrain::examples
