// The transport over NCCL, apart from NCCL itself (functions.cpp).

#include <array>
#include <exception>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "refrain/distributed/agreement.hpp"
#include "src/nccl/functions.hpp"
#include "src/polling.hpp"
#include "src/ranks.hpp"

namespace refrain::nccl {
namespace {

using Clock = std::chrono::steady_clock;

bool is_error(int result) { return result != success && result != in_progress; }

/// The message of an error with advice.
std::string advised(const std::string& text) {
  return text + "; NCCL_DEBUG=INFO in the environment prints what NCCL does";
}

class NcclRanks final : public Communicator {
 public:
  NcclRanks(Communicator& host, const NcclOptions& options, const Functions& functions)
      : Communicator(host.rank(), hosts_of(host)),
        host_(host),
        nccl_(functions),
        deadline_(options.deadline),
        exceptions_(std::uncaught_exceptions()) {}

  ~NcclRanks() override {
    if (comm_ != nullptr && std::uncaught_exceptions() == exceptions_) finish();
    abort_nccl();
  }

  /// Connects the GPUs of the ranks.
  void connect() {
    expect_own_gpus();
    if (size() == 1) return;
    struct {
      int result = success;
      Id id{};
    } first;
    if (rank() == 0) first.result = nccl_.get_unique_id(&first.id);
    host_.broadcast(std::as_writable_bytes(std::span(&first, 1)));
    if (is_error(first.result)) {
      throw CommunicationError(
          advised(detail::concat("ncclGetUniqueId of ", text(0), ": ", reason(first.result))));
    }
    try {
      check(nccl_.init(&comm_, size(), first.id, rank()), "ncclCommInitRankConfig");
      wait_until_idle("ncclCommInitRankConfig");
    } catch (...) {
      abort_nccl();
      throw;
    }
  }

 private:
  /// What a rank tells another one about its part of a call.
  struct Call {
    std::int64_t collective = 0;
    std::int64_t number = 0;
    std::int64_t root = 0;
    std::int64_t bytes = 0;  ///< that it sends to the other one

    std::string str() const {
      return detail::concat(static_cast<Collective>(collective), " (call ", number, ")",
                            static_cast<Collective>(collective) == Collective::broadcast
                                ? detail::concat(" from rank ", root)
                                : std::string());
    }
  };

  /// Throws on all ranks unless each has a GPU that no other one has.
  void expect_own_gpus() {
    constexpr std::string_view none = "-";
    std::array<char, 32> text{};
    std::string own(none);
    if (is_available(Device::cuda) && nccl_.gpu_id(text.data(), static_cast<int>(text.size())))
      own = text.data();
    std::vector<std::string> gpus;
    for (const std::vector<std::byte>& gpu : gather_bytes(host_, std::as_bytes(std::span(own))))
      gpus.emplace_back(reinterpret_cast<const char*>(gpu.data()), gpu.size());
    for (int rank = 0; rank < size(); ++rank) {
      if (gpus[at(rank)] == none) {
        throw Unsupported(detail::concat(
            "nccl_ranks: ", this->text(rank),
            " has no Device::cuda: expected a build with REFRAIN_CUDA=ON and a supported GPU with "
            "its driver on every rank"));
      }
      for (int before = 0; before < rank; ++before) {
        if (gpus[at(before)] != gpus[at(rank)] || host(before) != host(rank)) continue;
        throw OptionError(
            detail::concat("nccl_ranks: ", this->text(before), " and ", this->text(rank),
                           " have the same GPU, ", gpus[at(rank)],
                           "; expected one GPU for each rank: set CUDA_VISIBLE_DEVICES of each "
                           "process, or use the other communicator alone"));
      }
    }
  }

  void transfer(const Transfer& transfer) override { transfer_by(host_, transfer); }

  void transfer_on_device(const Transfer& transfer, Device) override {
    if (comm_ == nullptr)
      throw CommunicationError("the NCCL communicator cannot be used after an error");
    try {
      agree(transfer);
      post(transfer);
      wait(transfer);
    } catch (...) {
      abort_nccl();
      throw;
    }
  }

  void end_all(const std::string& message) override {
    abort_nccl();
    end_all_by(host_, message);
  }

  /// Compares the call and the sizes of the messages with those of all ranks.
  void agree(const Transfer& transfer) {
    std::vector<Call> own(at(size())), others(at(size()));
    std::vector<std::span<const std::byte>> to(at(size()));
    std::vector<std::span<std::byte>> from(at(size()));
    for (int peer = 0; peer < size(); ++peer) {
      own[at(peer)] = {.collective = static_cast<std::int64_t>(transfer.collective),
                       .number = transfer.call,
                       .root = transfer.root,
                       .bytes = std::ssize(transfer.to[at(peer)])};
      if (peer == rank()) continue;
      to[at(peer)] = std::as_bytes(std::span(&own[at(peer)], 1));
      from[at(peer)] = std::as_writable_bytes(std::span(&others[at(peer)], 1));
    }
    transfer_by(host_, {.collective = Collective::exchange,
                        .root = 0,
                        .call = transfer.call,
                        .to = to,
                        .from = from});
    for (int peer = 0; peer < size(); ++peer) {
      if (peer == rank()) continue;
      const Call& mine = own[at(peer)];
      const Call& other = others[at(peer)];
      if (other.collective != mine.collective || other.number != mine.number ||
          other.root != mine.root) {
        throw CommunicationError(
            detail::concat(mine.str(), ": ", text(peer), " called ", other.str()));
      }
      const std::int64_t expected = std::ssize(transfer.from[at(peer)]);
      if (other.bytes != expected) {
        throw CommunicationError(detail::concat(mine.str(), ": expected ", expected, " bytes from ",
                                                text(peer), ", got ", other.bytes));
      }
    }
  }

  /// Queues the messages in the current stream.
  void post(const Transfer& transfer) {
    void* stream = current_stream(Device::cuda).handle;
    std::string problem;
    const auto keep = [&](int result, const std::string& call) {
      if (problem.empty() && is_error(result))
        problem = detail::concat(transfer.str(), ": ", call, ": ", reason(result));
    };
    const auto message = [&](const char* call, int peer, std::size_t bytes) {
      return detail::concat(call, text(peer), ", ", bytes, " bytes");
    };
    const int started = nccl_.group_start();
    keep(started, "ncclGroupStart");
    for (int peer = 0; peer < size() && problem.empty(); ++peer) {
      const std::span<std::byte> received = transfer.from[at(peer)];
      const std::span<const std::byte> sent = transfer.to[at(peer)];
      if (!received.empty()) {
        keep(nccl_.receive(received.data(), received.size(), bytes_type, peer, comm_, stream),
             message("ncclRecv from ", peer, received.size()));
      }
      if (!sent.empty() && problem.empty()) {
        keep(nccl_.send(sent.data(), sent.size(), bytes_type, peer, comm_, stream),
             message("ncclSend to ", peer, sent.size()));
      }
    }
    // A group that has begun must end, also after an error.
    if (!is_error(started)) keep(nccl_.group_end(), "ncclGroupEnd");
    if (!problem.empty()) throw CommunicationError(advised(problem));
  }

  /// Waits until the messages have arrived.
  void wait(const Transfer& transfer) {
    const Clock::time_point start = Clock::now();
    std::optional<Event> arrived;
    while (true) {
      const int state = this->state();
      if (is_error(state)) fail(transfer, reason(state));
      if (state == success) {
        if (!arrived) arrived.emplace(Device::cuda).record();
        if (arrived->has_passed()) return;
      }
      if (is_late(start)) fail(transfer, late());
      pause_polling(Clock::now() - start);
    }
  }

  [[noreturn]] void fail(const Transfer& transfer, const std::string& why) const {
    std::string messages;
    for (int peer = 0; peer < size(); ++peer) {
      const std::size_t sent = transfer.to[at(peer)].size();
      const std::size_t received = transfer.from[at(peer)].size();
      if (sent + received == 0) continue;
      messages +=
          detail::concat(", ", sent, " bytes to and ", received, " bytes from ", text(peer));
    }
    throw CommunicationError(
        advised(detail::concat(text(), ": ", transfer.str(), messages, ": ", why)));
  }

  /// Waits until NCCL has ended a call about the communicator itself.
  void wait_until_idle(std::string_view call) {
    const Clock::time_point start = Clock::now();
    for (int state = this->state(); state != success; state = this->state()) {
      check(state, call);
      if (is_late(start))
        throw CommunicationError(advised(detail::concat(text(), ": ", call, ": ", late())));
      pause_polling(Clock::now() - start);
    }
  }

  /// in_progress while NCCL works, on the host, on the calls so far; success, or an error.
  int state() {
    int state = success;
    const int result = nccl_.async_error(comm_, &state);
    return is_error(result) ? result : state;
  }

  void check(int result, std::string_view call) const {
    if (!is_error(result)) return;
    throw CommunicationError(advised(detail::concat(text(), ": ", call, ": ", reason(result))));
  }

  bool is_late(Clock::time_point start) const { return Clock::now() - start > deadline_; }
  std::string late() const {
    return detail::concat("not ended within ", deadline_.count(),
                          " ms; another rank may have failed or be slow");
  }

  std::string reason(int result) const {
    const char* last = nccl_.last_error(comm_);
    std::string text = nccl_.error_string(result);
    if (last != nullptr && *last != '\0') text += detail::concat(" (", last, ")");
    return text;
  }

  /// Ends the communicator together with the other ranks. What fails is left to abort_nccl().
  void finish() noexcept {
    try {
      check(nccl_.finalize(comm_), "ncclCommFinalize");
      wait_until_idle("ncclCommFinalize");
      nccl_.destroy(std::exchange(comm_, nullptr));
    } catch (const std::exception&) {
    }
  }

  void abort_nccl() noexcept {
    if (comm_ != nullptr) nccl_.abort(std::exchange(comm_, nullptr));
  }

  Communicator& host_;
  const Functions& nccl_;
  std::chrono::milliseconds deadline_;
  int exceptions_;
  ncclComm* comm_ = nullptr;
};

}  // namespace

std::unique_ptr<Communicator> ranks(Communicator& host, const NcclOptions& options,
                                    const Functions& functions) {
  if (options.deadline.count() <= 0) {
    throw OptionError(detail::concat("nccl_ranks: expected a deadline of at least 1 ms, got ",
                                     options.deadline.count()));
  }
  auto ranks = std::make_unique<NcclRanks>(host, options, functions);
  ranks->connect();
  return ranks;
}

}  // namespace refrain::nccl
