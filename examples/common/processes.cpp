#include "common/processes.hpp"

#include <fmt/format.h>

#include <array>
#include <cstdlib>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "common/failure.hpp"
#include "common/gpus.hpp"
#include "common/standard_streams.hpp"
#include "refrain/core/parallel.hpp"
#include "refrain/distributed/launcher.hpp"
#include "refrain/train/trainer.hpp"

namespace refrain::examples {
namespace {

/// True when the exception that is being handled is thrown by all processes after the same step,
/// because it follows from what they share: options, sums of gradients, the handshake.
bool is_shared_error() {
  try {
    throw;
  } catch (const DivergedError&) {
    return true;
  } catch (const OptionError&) {
    return true;
  } catch (const CommunicationError&) {
    return true;
  } catch (...) {
    return false;
  }
}

}  // namespace

Processes::Processes(std::unique_ptr<Communicator> ranks, ConnectGpus connect_gpus,
                     std::chrono::milliseconds deadline)
    : ranks_(std::move(ranks)), connect_gpus_(connect_gpus), deadline_(deadline) {
  thread_share_ = thread_share(*ranks_);
  if (!is_first()) mute_standard_streams();
}

Processes& Processes::alone() {
  static Processes one;
  return one;
}

void Processes::use_threads(std::int64_t count) const {
  const bool is_open = count == 0 && std::getenv("REFRAIN_THREADS") == nullptr;
  set_threads(is_open ? thread_share_ : static_cast<int>(count));
}

void Processes::use_device(Device device) {
  if (ranks_ == nullptr || device == Device::cpu) return;
  choose_own_gpu(*ranks_);
  std::string reason = "the program is built without NCCL";
  try {
    if (connect_gpus_ != nullptr) gpus_ = connect_gpus_(*ranks_, deadline_);
  } catch (const OptionError& error) {
    reason = error.what();  // processes share a GPU
  } catch (const Unsupported&) {
    return;  // the command refuses the device
  }
  if (gpus_ != nullptr) {
    say("{} processes exchange bytes between their GPUs by NCCL\n", count());
  } else if (is_available(device)) {
    say("{} processes exchange bytes of GPUs through page-locked memory: {}\n", count(), reason);
  }
}

void Processes::wait_for_all() {
  if (ranks_ == nullptr || is_ready_) return;
  if (!agree({})) throw NotReady();
}

void Processes::expect_same(Identity own) {
  wait_for_all();
  if (ranks_ == nullptr) return;
  const Identity build = build_identity();
  own.insert(own.begin(), build.begin(), build.end());
  handshake(*ranks_, own);
}

/// Tells all processes the errors of all; the first one prints them. True when there are none.
bool Processes::agree(const std::string& error) {
  is_ready_ = true;
  // Three bytes are no call of a training: a process that still trains gets an error here.
  gather_values<char>(*ranks_, std::array{'e', 'n', 'd'});
  std::map<std::string, std::string> ranks_of;  // the ranks of each error
  bool is_common = true;
  const std::vector<std::vector<std::byte>> all =
      gather_bytes(*ranks_, std::as_bytes(std::span(error)));
  for (int rank = 0; rank < count(); ++rank) {
    const std::vector<std::byte>& bytes = all[static_cast<std::size_t>(rank)];
    is_common = is_common && bytes == all.front();
    if (bytes.empty()) continue;
    std::string& ranks = ranks_of[{reinterpret_cast<const char*>(bytes.data()), bytes.size()}];
    ranks += (ranks.empty() ? "" : ", ") + ranks_->text(rank);
  }
  for (const auto& [text, ranks] : ranks_of)
    is_common ? say("{}\n", text) : say("{}: {}\n", ranks, text);
  return ranks_of.empty();
}

int Processes::run(const char* program, const std::function<int()>& command) {
  int code = 1;
  try {
    code = command();
    wait_for_all();
  } catch (const NotReady&) {
    code = 1;
  } catch (...) {
    const Failure failure = current_failure();
    const std::string text =
        fmt::format("{}: {}", program,
                    failure.text.empty() ? "standard output cannot be written" : failure.text);
    if (is_ready_ && !is_shared_error()) ranks_->abort(text);
    try {
      agree(text);
    } catch (const CommunicationError&) {
      ranks_->abort(text);
    }
    code = 1;
  }
  flush_output();  // a launcher may kill the others when one ends with an error
  return code;
}

int run_launched(const char* program, Launch launch, const Transports& transports,
                 std::chrono::milliseconds deadline,
                 const std::function<int(Processes&)>& command) {
  Processes one;
  if (launch != Launch::together || transports.join == nullptr ||
      launched_as_one_of_several().empty())
    return command(one);
  std::unique_ptr<Communicator> ranks = transports.join(deadline);
  if (ranks->size() == 1) {
    ranks.reset();
    return command(one);
  }
  Processes several(std::move(ranks), transports.connect_gpus, deadline);
  return several.run(program, [&] { return command(several); });
}

void expect_launch(const Processes& processes, Launch launch) {
  const std::string started = launched_as_one_of_several();
  if (launch == Launch::separate || processes.count() > 1 || started.empty()) return;
  const bool can_join = launch == Launch::together;
  throw OptionError(fmt::format(
      "expected one process, got several from a launcher ({}){}, which would write the same "
      "files: {}",
      started, can_join ? " that MPI does not connect" : "",
      can_join
          ? "start one process, or build the program with the MPI of this launcher (REFRAIN_MPI)"
          : "start the program without mpirun or srun"));
}

}  // namespace refrain::examples
