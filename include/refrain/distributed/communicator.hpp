#pragma once
/// Processes that compute together, and the transport of bytes between them.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "refrain/core/device.hpp"
#include "refrain/core/error.hpp"
#include "refrain/core/stream.hpp"

namespace refrain {

/// A collective call failed: another rank failed or left, called something else, or did not answer
/// in time; or the transport reported an error.
class REFRAIN_API CommunicationError : public Error {
 public:
  using Error::Error;
};

/// Collective calls of one rank and the bytes that they moved. What a rank sends to itself does not
/// count. Over all ranks, the bytes sent equal the bytes received.
struct CommunicationCounts {
  std::int64_t calls = 0;
  std::int64_t bytes_sent = 0;
  std::int64_t bytes_received = 0;
};

enum class Collective : std::uint8_t { broadcast, all_gather, exchange };

constexpr const char* name(Collective collective) noexcept {
  return collective == Collective::broadcast    ? "broadcast"
         : collective == Collective::all_gather ? "all_gather"
                                                : "exchange";
}

/// R processes, or threads in tests, that call the same collective functions in the same order.
///
/// Collectives move bytes and never add: sums have a fixed order (refrain/distributed/tree_sum.hpp)
/// that does not depend on the transport. All ranks must have the same byte order. A communicator
/// is used by one thread at a time.
///
/// With Device::cuda the bytes of a call lie in the memory of a GPU. The call takes its place in
/// the current stream: the bytes are those that the work queued so far writes, and all messages
/// have arrived when it returns. All ranks name the same device. Throws Unsupported when the device
/// is not available, and DeviceError when its work fails or is being captured (CapturedWork).
///
/// A transport derives transfer() and end_all(), and transfer_on_device() where it has something
/// better than copies through page-locked memory. All functions throw CommunicationError when the
/// transport fails; then the communicator cannot be used any more.
class REFRAIN_API Communicator {
 public:
  virtual ~Communicator();
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int rank() const noexcept { return rank_; }
  int size() const noexcept { return static_cast<int>(hosts_.size()); }

  /// The host of a rank.
  const std::string& host(int rank) const { return hosts_.at(static_cast<std::size_t>(rank)); }
  /// This rank, or rank `rank`, for messages: "rank 2 (node7)".
  std::string text() const { return text(rank_); }
  std::string text(int rank) const;

  /// Copies the bytes of rank `root` to all others. The root sends one copy to each rank. Throws
  /// OptionError for a root out of range.
  void broadcast(std::span<std::byte> bytes, int root = 0, Device device = Device::cpu);

  /// Sends `own` to all ranks; blocks[r] receives the bytes of rank r. Sizes may differ between
  /// ranks. Throws OptionError unless there are R blocks and the own one has the size of `own`.
  void all_gather(std::span<const std::byte> own, std::span<const std::span<std::byte>> blocks,
                  Device device = Device::cpu);

  /// Sends to[r] to rank r; from[r] receives the bytes from rank r. Throws OptionError unless both
  /// lists have R entries and both own entries the same size.
  void exchange(std::span<const std::span<const std::byte>> to,
                std::span<const std::span<std::byte>> from, Device device = Device::cpu);

  /// Ends all ranks because of an error of this one. Ranks that are threads get a
  /// CommunicationError, as does the caller; processes print the reason and end.
  [[noreturn]] void abort(const std::string& reason);

  const CommunicationCounts& counts() const noexcept { return counts_; }

 protected:
  /// One collective as messages between ranks. Entries of the own rank are empty. In a broadcast
  /// only the root sends; in other calls every rank sends to every other one, even zero bytes.
  struct Transfer {
    Collective collective;
    int root;           ///< of a broadcast; otherwise 0
    std::int64_t call;  ///< number of this collective, from 1; equal on all ranks
    std::span<const std::span<const std::byte>> to;
    std::span<const std::span<std::byte>> from;

    /// True when rank `sender` sends a message to another rank.
    bool sends(int sender) const noexcept {
      return collective != Collective::broadcast || sender == root;
    }
    /// The call for messages: "all_gather (call 3)".
    std::string str() const;
  };

  /// `hosts`: the host of each rank.
  Communicator(int rank, std::vector<std::string> hosts);
  void set_hosts(std::vector<std::string> hosts) { hosts_ = std::move(hosts); }

  /// Delivers the messages. Both sides know the size of a message; other sizes are an error. Not
  /// called for R = 1.
  virtual void transfer(const Transfer& transfer) = 0;
  /// Delivers messages in the memory of a GPU, as described above. Not called for R = 1. This one
  /// copies them to page-locked memory, calls transfer(), and copies what arrived to the GPU.
  virtual void transfer_on_device(const Transfer& transfer, Device device);
  /// Ends all other ranks; `message` names this rank and the reason. Returns only when ranks are
  /// threads.
  virtual void end_all(const std::string& message) = 0;

  // For a transport that leaves a part of its work to another communicator of the same ranks.
  static const std::vector<std::string>& hosts_of(const Communicator& other) noexcept {
    return other.hosts_;
  }
  static void transfer_by(Communicator& other, const Transfer& transfer) {
    other.transfer(transfer);
  }
  static void end_all_by(Communicator& other, const std::string& message) {
    other.end_all(message);
  }

 private:
  void run(Collective collective, int root, std::span<const std::span<const std::byte>> to,
           std::span<const std::span<std::byte>> from, Device device);

  int rank_;
  std::vector<std::string> hosts_;
  CommunicationCounts counts_;
  PinnedBuffer sent_, received_;  ///< of transfer_on_device()
};

/// A communicator of one rank.
REFRAIN_API std::unique_ptr<Communicator> alone();

}  // namespace refrain
