#pragma once
/// Ranks whose GPUs exchange bytes by NCCL. Programs that include this header link refrain::nccl.

#include <chrono>
#include <memory>

#include "refrain/distributed/communicator.hpp"

namespace refrain {

struct NcclOptions {
  /// The longest time that a rank waits for NCCL in one call, and while it connects.
  std::chrono::milliseconds deadline = std::chrono::seconds(300);
};

/// The ranks of `host`, one GPU each. Calls with Device::cuda move their bytes between the GPUs by
/// NCCL; all other calls, and abort(), are those of `host`, which must outlive the result. Called
/// by all ranks of `host`, each with Device::cuda as its GPU (CUDA_VISIBLE_DEVICES).
///
/// Each message of a call is one ncclSend() and one ncclRecv() of bytes; the messages of a call are
/// one group in the current stream. NCCL adds nothing. Before each call the ranks compare by `host`
/// what they call and the sizes of their messages, because NCCL does not.
///
/// Every call is polled. An error of NCCL, a call that differs between ranks, and a rank that waits
/// longer than the deadline are CommunicationErrors with call, other ranks and numbers of bytes.
/// The NCCL communicator is then aborted, which ends its work on the GPU; later calls with
/// Device::cuda throw, and calls of the CPU still work. The other ranks get an error when their
/// deadline has passed; in an MPI job, abort() ends them at once. The destructor waits for the
/// other ranks, at most until the deadline; while an exception unwinds the stack it aborts instead.
///
/// Throws on all ranks OptionError unless the deadline is positive and every rank has a GPU of its
/// own, and Unsupported when a rank has none. (Ranks that share a GPU use `host` alone, which moves
/// the bytes of GPUs through page-locked memory.) Throws CommunicationError when NCCL does not
/// connect the ranks.
REFRAIN_API std::unique_ptr<Communicator> nccl_ranks(Communicator& host,
                                                     const NcclOptions& options = {});

}  // namespace refrain
