#include "refrain/distributed/mpi.hpp"

#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <exception>
#include <string_view>
#include <thread>
#include <utility>

#include "refrain/distributed/agreement.hpp"
#include "src/polling.hpp"
#include "src/ranks.hpp"

namespace refrain {
namespace {

using Clock = std::chrono::steady_clock;

/// Longer messages are cut: MPI counts elements in int.
constexpr std::size_t max_message = std::size_t{1} << 30;
/// How long the remaining messages of a failed call may take to end.
constexpr std::chrono::seconds release_time{1};
constexpr std::chrono::seconds abort_time{10};

std::string error_text(int error) {
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(error, text.data(), &length);
  return {text.data(), at(length)};
}

void check(int error, std::string_view call) {
  if (error != MPI_SUCCESS)
    throw CommunicationError(detail::concat("MPI: ", call, ": ", error_text(error)));
}

/// The number of an MPI message: the collective in the lowest two bits, and the last digits of the
/// number of the call. MPI guarantees tags up to 32,767.
constexpr int leave = 3;  // not a Collective: the rank ends its communicator
int tag_of(int collective, std::int64_t call) {
  return static_cast<int>(call % 8192) * 4 + collective;
}
std::string text_of_tag(int tag) {
  if (tag % 4 == leave) return "left";
  return detail::concat("called ", static_cast<Collective>(tag % 4), " (call ", tag / 4,
                        " modulo 8192)");
}

class MpiWorld final : public Communicator {
 public:
  MpiWorld(MPI_Comm comm, int rank, int size, const MpiOptions& options, bool ends_mpi)
      : Communicator(rank, std::vector<std::string>(at(size))),
        comm_(comm),
        deadline_(options.deadline),
        ends_mpi_(ends_mpi),
        exceptions_(std::uncaught_exceptions()) {
    std::array<char, MPI_MAX_PROCESSOR_NAME> name{};
    int length = 0;
    check(MPI_Get_processor_name(name.data(), &length), "MPI_Get_processor_name");
    std::vector<std::string> hosts;
    for (const std::vector<std::byte>& host :
         gather_bytes(*this, std::as_bytes(std::span(name).first(at(length)))))
      hosts.emplace_back(reinterpret_cast<const char*>(host.data()), host.size());
    set_hosts(std::move(hosts));
  }

  ~MpiWorld() override {
    if (has_failed_ || std::uncaught_exceptions() > exceptions_)
      end_all(text() + ": ended by an error");
    try {
      const std::vector<std::span<const std::byte>> to(at(size()));
      const std::vector<std::span<std::byte>> from(at(size()));
      move(leave, {.collective = Collective::exchange,
                   .root = 0,
                   .call = counts().calls + 1,
                   .to = to,
                   .from = from});
    } catch (const CommunicationError& error) {
      end_all(text() + ": " + error.what());
    }
    MPI_Comm_free(&comm_);
    if (ends_mpi_) MPI_Finalize();
  }

 private:
  struct Message {
    int peer;
    std::size_t bytes;
    bool is_received;
  };

  void transfer(const Transfer& transfer) override {
    if (has_failed_) throw CommunicationError("the communicator cannot be used after an error");
    move(static_cast<int>(transfer.collective), transfer);
  }

  void move(int collective, const Transfer& transfer) {
    const Clock::time_point start = Clock::now();
    const int tag = tag_of(collective, transfer.call);
    const std::string call = collective == leave ? "the end" : transfer.str();
    try {
      post(transfer, tag, call);
      wait(start, tag, call);
    } catch (const CommunicationError& error) {
      has_failed_ = true;
      release(error.what());
      throw;
    }
  }

  /// Starts all messages of a call.
  void post(const Transfer& transfer, int tag, const std::string& call) {
    for (int peer = 0; peer < size(); ++peer) {
      if (peer == rank() || !transfer.sends(peer)) continue;
      for_parts(transfer.from[at(peer)], [&](std::span<std::byte> part) {
        // Any tag: a message of another call is then an error instead of a wait without end.
        begin({.peer = peer, .bytes = part.size(), .is_received = true}, call,
              [&](MPI_Request* request) {
                return MPI_Irecv(part.data(), static_cast<int>(part.size()), MPI_BYTE, peer,
                                 MPI_ANY_TAG, comm_, request);
              });
      });
    }
    if (!transfer.sends(rank())) return;
    for (int peer = 0; peer < size(); ++peer) {
      if (peer == rank()) continue;
      for_parts(transfer.to[at(peer)], [&](std::span<const std::byte> part) {
        begin({.peer = peer, .bytes = part.size(), .is_received = false}, call,
              [&](MPI_Request* request) {
                return MPI_Isend(part.data(), static_cast<int>(part.size()), MPI_BYTE, peer, tag,
                                 comm_, request);
              });
      });
    }
  }

  /// Calls function(part) for each part of a message, at least once.
  template <class Byte, class Function>
  static void for_parts(std::span<Byte> message, Function&& function) {
    do {
      const std::size_t size = std::min(message.size(), max_message);
      function(message.first(size));
      message = message.subspan(size);
    } while (!message.empty());
  }

  template <class Begin>
  void begin(const Message& message, const std::string& call, Begin&& begin_message) {
    MPI_Request request = MPI_REQUEST_NULL;
    const int error = begin_message(&request);
    if (error != MPI_SUCCESS) fail(message, call, error_text(error));
    messages_.push_back(message);
    requests_.push_back(request);
  }

  [[noreturn]] void fail(const Message& message, const std::string& call,
                         const std::string& reason) const {
    throw CommunicationError(detail::concat(call, ", ", message.is_received ? "from " : "to ",
                                            text(message.peer), ", ", message.bytes,
                                            " bytes: ", reason));
  }

  /// Waits until all messages have ended.
  void wait(Clock::time_point start, int tag, const std::string& call) {
    const int count = static_cast<int>(requests_.size());
    std::vector<int> ended(requests_.size());
    std::vector<MPI_Status> statuses(requests_.size());
    for (std::size_t left = requests_.size(); left > 0;) {
      int number = 0;
      const int error =
          MPI_Testsome(count, requests_.data(), &number, ended.data(), statuses.data());
      if (error != MPI_SUCCESS && error != MPI_ERR_IN_STATUS) check(error, call);
      for (int i = 0; i < number; ++i) {
        const Message& message = messages_[at(ended[at(i)])];
        const MPI_Status& status = statuses[at(i)];
        const int result = error == MPI_ERR_IN_STATUS ? status.MPI_ERROR : MPI_SUCCESS;
        if (message.is_received && (result == MPI_SUCCESS || is_truncated(result)) &&
            status.MPI_TAG != tag)
          fail(message, call, "the other rank " + text_of_tag(status.MPI_TAG));
        if (result != MPI_SUCCESS) fail(message, call, error_text(result));
        if (message.is_received) expect_size(message, status, call);
      }
      left -= at(std::max(number, 0));
      const Clock::duration waited = Clock::now() - start;
      if (left > 0 && waited > deadline_) end_all(text() + ": " + late(call));
      if (number > 0) continue;
      pause_polling(waited);
    }
    messages_.clear();
    requests_.clear();
  }

  /// A longer message than expected arrived.
  static bool is_truncated(int error) {
    int error_class = MPI_SUCCESS;
    MPI_Error_class(error, &error_class);
    return error_class == MPI_ERR_TRUNCATE;
  }

  void expect_size(const Message& message, const MPI_Status& status,
                   const std::string& call) const {
    int bytes = 0;
    check(MPI_Get_count(&status, MPI_BYTE, &bytes), "MPI_Get_count");
    if (static_cast<std::size_t>(bytes) != message.bytes)
      fail(message, call, detail::concat("got ", bytes, " bytes"));
  }

  std::string late(const std::string& call) const {
    std::vector<bool> is_late(at(size()), false);
    for (std::size_t i = 0; i < requests_.size(); ++i) {
      if (requests_[i] != MPI_REQUEST_NULL) is_late[at(messages_[i].peer)] = true;
    }
    std::string ranks;
    for (int peer = 0; peer < size(); ++peer) {
      if (is_late[at(peer)]) ranks += (ranks.empty() ? "" : ", ") + text(peer);
    }
    return detail::concat(call, ": no answer from ", ranks, " within ", deadline_.count(), " ms");
  }

  /// Ends the remaining messages of a failed call, whose memory the caller may free. The job ends
  /// when they do not end.
  void release(const std::string& message) {
    for (std::size_t i = 0; i < requests_.size(); ++i) {
      if (messages_[i].is_received && requests_[i] != MPI_REQUEST_NULL) MPI_Cancel(&requests_[i]);
    }
    const Clock::time_point start = Clock::now();
    for (MPI_Request& request : requests_) {
      while (request != MPI_REQUEST_NULL) {
        int has_ended = 0;
        MPI_Test(&request, &has_ended, MPI_STATUS_IGNORE);
        if (has_ended != 0) break;
        if (Clock::now() - start > release_time) end_all(text() + ": " + message);
        std::this_thread::sleep_for(sleep_time);
      }
    }
    messages_.clear();
    requests_.clear();
  }

  void end_all(const std::string& message) override {
    std::fprintf(stderr, "%s\n", message.c_str());
    std::fflush(nullptr);
    std::thread([] {
      std::this_thread::sleep_for(abort_time);
      ::_exit(1);
    }).detach();
    MPI_Abort(comm_, 1);
    while (true) std::this_thread::sleep_for(abort_time);
  }

  MPI_Comm comm_;
  std::chrono::milliseconds deadline_;
  bool ends_mpi_;
  int exceptions_;
  bool has_failed_ = false;
  std::vector<Message> messages_;
  std::vector<MPI_Request> requests_;
};

}  // namespace

std::unique_ptr<Communicator> mpi_world(const MpiOptions& options) {
  if (options.deadline.count() <= 0) {
    throw OptionError(detail::concat("mpi_world: expected a deadline of at least 1 ms, got ",
                                     options.deadline.count()));
  }
  int is_started = 0, level = MPI_THREAD_SINGLE;
  check(MPI_Initialized(&is_started), "MPI_Initialized");
  if (is_started != 0) {
    check(MPI_Query_thread(&level), "MPI_Query_thread");
  } else {
    check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &level), "MPI_Init_thread");
    // MPI_Testsome() belongs to no communicator: its errors go to the handler of one of these.
    for (const MPI_Comm comm : {MPI_COMM_WORLD, MPI_COMM_SELF})
      check(MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  }
  if (level < MPI_THREAD_FUNNELED)
    throw CommunicationError("MPI: expected at least MPI_THREAD_FUNNELED, got MPI_THREAD_SINGLE");
  MPI_Comm comm = MPI_COMM_NULL;
  check(MPI_Comm_dup(MPI_COMM_WORLD, &comm), "MPI_Comm_dup");
  check(MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  int rank = 0, size = 0;
  check(MPI_Comm_rank(comm, &rank), "MPI_Comm_rank");
  check(MPI_Comm_size(comm, &size), "MPI_Comm_size");
  return std::make_unique<MpiWorld>(comm, rank, size, options, is_started == 0);
}

}  // namespace refrain
