#pragma once
/// Processes that one launcher (mpirun, srun) starts for a command.

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "refrain/distributed/communicator.hpp"

namespace refrain::examples {

/// How several processes of one launcher may run a command.
enum class Launch : std::uint8_t {
  one,       ///< not at all: they would write the same files
  separate,  ///< each on its own (recommend --all --part)
  together,  ///< as the ranks of an MPI job, which train one model
};

/// Joins the ranks of this MPI job (mpi_world()), with the time that one waits for another.
using JoinRanks = std::unique_ptr<Communicator> (*)(std::chrono::milliseconds deadline);

/// The processes that run one command: one, or the ranks of an MPI job. Of several, the first one
/// alone prints and writes files; the others print only errors that the first one does not have.
class Processes {
 public:
  /// One process.
  Processes() = default;
  /// The ranks of a job. Takes standard output and say() from all processes but the first.
  explicit Processes(std::unique_ptr<Communicator> ranks);

  /// A process on its own.
  static Processes& alone();

  /// The ranks that train together; null for one process.
  Communicator* ranks() const { return ranks_.get(); }
  int count() const { return ranks_ == nullptr ? 1 : ranks_->size(); }
  /// True for the process that prints and writes files.
  bool is_first() const { return ranks_ == nullptr || ranks_->rank() == 0; }

  /// Sets threads(). 0: of several processes each takes its share of the cores (thread_share()),
  /// unless REFRAIN_THREADS is set.
  void use_threads(std::int64_t count) const;

  /// Waits until all processes are ready to train, and does nothing when called again. When a
  /// process has failed before, the first one prints the errors, and all throw NotReady.
  void wait_for_all();
  struct NotReady {};

  /// Runs the command on each of several processes and returns the exit code. An error before
  /// wait_for_all(), or of the options, the handshake or the loss, is printed once if all have it,
  /// and otherwise with rank and host; all return 1. Any other error ends the job with exit code 1.
  int run(const char* program, const std::function<int()>& command);

 private:
  bool agree(const std::string& error);

  std::unique_ptr<Communicator> ranks_;
  int thread_share_ = 0;
  bool is_ready_ = false;
};

/// Calls command(processes) for the processes that a launcher started: `together` joins them by
/// `join` (null in a program without MPI), otherwise each is alone.
int run_launched(const char* program, Launch launch, JoinRanks join,
                 std::chrono::milliseconds deadline, const std::function<int(Processes&)>& command);

/// Throws OptionError when a launcher started this process as one of several, unless they run
/// separately or as connected ranks.
void expect_launch(const Processes& processes, Launch launch);

}  // namespace refrain::examples
