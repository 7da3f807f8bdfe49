/// The transport over NCCL, with a double of NCCL.

#include <array>
#include <chrono>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "distributed/conformance.hpp"
#include "nccl/double.hpp"
#include "nccl/gpu_ranks.hpp"
#include "nccl/host_gpu.hpp"
#include "refrain/distributed/local_group.hpp"
#include "support/catch.hpp"

using namespace refrain;
using namespace refrain::test;
using namespace std::chrono_literals;

namespace nccl_test {

using nccl_double::Call;

std::unique_ptr<Communicator> connect(Communicator& host,
                                      std::chrono::milliseconds deadline = 60s) {
  return nccl::ranks(host, {.deadline = deadline}, nccl_double::functions());
}

/// Runs a function on ranks that NCCL connects; the messages of the errors of all ranks, empty for
/// a rank without an error.
std::vector<std::string> errors(int ranks, std::chrono::milliseconds deadline,
                                const std::function<void(Communicator&)>& body) {
  std::vector<std::string> messages(static_cast<std::size_t>(ranks));
  std::mutex mutex;
  try {
    LocalGroup(ranks, {.deadline = 20s, .delay = {}}).run([&](Communicator& host) {
      try {
        const std::unique_ptr<Communicator> gpus = connect(host, deadline);
        body(*gpus);
      } catch (const std::exception& error) {
        const std::lock_guard lock(mutex);
        messages[static_cast<std::size_t>(host.rank())] = error.what();
        throw;
      }
    });
  } catch (const std::exception&) {
  }
  return messages;
}

/// Sends 100 (own + 1) + other bytes to each other rank, none from rank 2 to rank 0.
void exchange(Communicator& ranks) {
  const int self = ranks.rank();
  const auto size = [](int from, int to) {
    return from == 2 && to == 0 ? std::size_t{0} : static_cast<std::size_t>(100 * (from + 1) + to);
  };
  std::vector<std::vector<std::byte>> sent, received;
  for (int rank = 0; rank < ranks.size(); ++rank) {
    sent.push_back(conformance::pattern(self, rank, size(self, rank)));
    received.emplace_back(size(rank, self));
  }
  ranks.exchange(std::vector<std::span<const std::byte>>(sent.begin(), sent.end()),
                 std::vector<std::span<std::byte>>(received.begin(), received.end()), Device::cuda);
  for (int rank = 0; rank < ranks.size(); ++rank) {
    conformance::expect(received[static_cast<std::size_t>(rank)] ==
                            conformance::pattern(rank, self, size(rank, self)),
                        ranks, "exchange");
  }
}

Call send(int peer, std::size_t bytes) {
  return {"send", peer, bytes, nccl::bytes_type, host_gpu::stream()};
}
Call receive(int peer, std::size_t bytes) {
  return {"receive", peer, bytes, nccl::bytes_type, host_gpu::stream()};
}

}  // namespace nccl_test

using namespace nccl_test;

TEST_CASE("nccl: collectives of 1 to 8 ranks in the memory of GPUs", "[nccl]") {
  for (int ranks = 1; ranks <= 8; ++ranks) {
    for (const auto& [name, check] : conformance::cases()) {
      INFO(name << ", " << ranks << " ranks");
      nccl_double::reset();
      CHECK_NOTHROW(LocalGroup(ranks).run([&, &check = check](Communicator& host) {
        const std::unique_ptr<Communicator> gpus = connect(host);
        GpuRanks on_gpus(*gpus);
        check(on_gpus);
      }));
      for (int rank = 0; rank < ranks; ++rank) {
        CHECK(nccl_double::count("misuse", rank) == 0);
        CHECK(nccl_double::count("abort", rank) == 0);
        CHECK(nccl_double::count("destroy", rank) == (ranks > 1 ? 1 : 0));
      }
    }
  }
}

TEST_CASE("communicator: collectives through page-locked memory", "[nccl]") {
  for (int ranks = 1; ranks <= 8; ++ranks) {
    for (const auto& [name, check] : conformance::cases()) {
      INFO(name << ", " << ranks << " ranks");
      CHECK_NOTHROW(LocalGroup(ranks).run([&check = check](Communicator& host) {
        GpuRanks on_gpus(host);
        check(on_gpus);
      }));
    }
  }
  // Page-locked memory holds what all ranks get once, and what each rank gets once for each.
  host_gpu::bytes_fetched = host_gpu::bytes_sent = 0;
  LocalGroup(3).run([](Communicator& host) {
    std::vector<std::byte> bytes(10), own(7);
    host.broadcast(bytes, 1, Device::cuda);
    std::vector<std::vector<std::byte>> all(3, std::vector<std::byte>(7));
    host.all_gather(own, std::vector<std::span<std::byte>>(all.begin(), all.end()), Device::cuda);
    exchange(host);
  });
  CHECK(host_gpu::bytes_fetched == 10 + 3 * 7 + 203 + 402 + 301);
  CHECK(host_gpu::bytes_sent == 2 * 10 + 6 * 7 + 203 + 402 + 301);
}

TEST_CASE("nccl: a call is one group of messages as bytes in the current stream", "[nccl]") {
  nccl_double::reset();
  LocalGroup(3).run([](Communicator& host) {
    const std::unique_ptr<Communicator> gpus = connect(host);
    exchange(*gpus);
    std::array<std::byte, 12> bytes{};
    gpus->broadcast(bytes, 1, Device::cuda);
    std::vector<std::vector<std::byte>> all{std::vector<std::byte>(1), std::vector<std::byte>(2),
                                            std::vector<std::byte>(3)};
    gpus->all_gather(all[static_cast<std::size_t>(host.rank())],
                     std::vector<std::span<std::byte>>(all.begin(), all.end()), Device::cuda);

    const CommunicationCounts counts = gpus->counts();
    std::int64_t sent = 0, received = 0;
    for (const Call& call : nccl_double::calls(host.rank())) {
      if (call.name == "send") sent += static_cast<std::int64_t>(call.bytes);
      if (call.name == "receive") received += static_cast<std::int64_t>(call.bytes);
    }
    conformance::expect(counts.calls == 3, host, "calls");
    conformance::expect(counts.bytes_sent == sent && sent > 0, host, "bytes sent");
    conformance::expect(counts.bytes_received == received, host, "bytes received");

    // Calls in the memory of the host make no call of NCCL.
    const std::size_t before = nccl_double::calls(host.rank()).size();
    any_bits(*gpus, 1);
    conformance::expect(
        gpus->counts().calls == 4 && nccl_double::calls(host.rank()).size() == before, host,
        "calls in the memory of the host");
  });
  using Calls = std::vector<Call>;
  const Call start{"group_start"}, end{"group_end"};
  CHECK(nccl_double::calls(0) == Calls{{"get_unique_id"},
                                       {"init"},
                                       start,
                                       receive(1, 200),
                                       send(1, 101),
                                       send(2, 102),
                                       end,
                                       start,
                                       receive(1, 12),
                                       end,
                                       start,
                                       receive(1, 2),
                                       send(1, 1),
                                       receive(2, 3),
                                       send(2, 1),
                                       end,
                                       {"finalize"},
                                       {"destroy"}});
  CHECK(nccl_double::calls(1) == Calls{{"init"},
                                       start,
                                       receive(0, 101),
                                       send(0, 200),
                                       receive(2, 301),
                                       send(2, 202),
                                       end,
                                       start,
                                       send(0, 12),
                                       send(2, 12),
                                       end,
                                       start,
                                       receive(0, 1),
                                       send(0, 2),
                                       receive(2, 3),
                                       send(2, 2),
                                       end,
                                       {"finalize"},
                                       {"destroy"}});
}

TEST_CASE("nccl: an error of each function ends the communicator", "[nccl][reliability]") {
  struct Case {
    const char* function;
    const char* message;
    bool is_connected;  ///< before the error
  };
  const std::vector<Case> cases{
      {"init", "rank 1 (this process): ncclCommInitRankConfig: unhandled system error (planted)",
       false},
      {"async_error", "rank 1 (this process): ncclCommInitRankConfig: unhandled system error",
       true},
      {"group_start", "exchange (call 1): ncclGroupStart: unhandled system error (planted)", true},
      {"receive",
       "exchange (call 1): ncclRecv from rank 0 (this process), 101 bytes: unhandled system error",
       true},
      {"send",
       "exchange (call 1): ncclSend to rank 0 (this process), 200 bytes: unhandled system error",
       true},
      {"group_end", "exchange (call 1): ncclGroupEnd: unhandled system error (planted)", true},
      {"state",
       "rank 1 (this process): exchange (call 1), 200 bytes to and 101 bytes from rank 0 (this "
       "process): unhandled system error (planted)",
       true},
  };
  for (const Case& each : cases) {
    INFO(each.function);
    nccl_double::reset();
    nccl_double::fail(each.function, 1, 2);
    std::string later;
    const std::vector<std::string> messages = errors(2, 300ms, [&](Communicator& gpus) {
      try {
        exchange(gpus);
      } catch (const CommunicationError&) {
        if (gpus.rank() == 1) {
          try {
            exchange(gpus);
          } catch (const CommunicationError& error) {
            later = error.what();
          }
        }
        throw;
      }
    });
    CHECK_THAT(messages[1], contains(each.message));
    CHECK_THAT(messages[1], contains("NCCL_DEBUG=INFO"));
    CHECK(nccl_double::count("abort", 1) == (each.is_connected ? 1 : 0));
    CHECK(nccl_double::count("destroy", 1) == 0);
    CHECK(nccl_double::count("misuse", 1) == 0);
    // A group that has begun has ended.
    const bool has_begun = std::string(each.function) != "group_start";
    CHECK(nccl_double::count("group_end", 1) ==
          (has_begun ? nccl_double::count("group_start", 1) : 0));
    if (nccl_double::count("group_start", 1) > 0)
      CHECK(later == "the NCCL communicator cannot be used after an error");
    // The other rank waits until its deadline, unless its messages have arrived or it learns from
    // the host that the rank has failed.
    const std::string function = each.function;
    if (function == "state") {
      CHECK(messages[0].empty());
    } else if (function == "async_error") {
      CHECK_THAT(messages[0], contains("rank 1 (this process) failed: rank 1 (this process)"));
    } else {
      CHECK_THAT(messages[0], contains("not ended within 300 ms; another rank may have failed"));
    }
    CHECK(nccl_double::count("abort", 0) == 1);
    CHECK(nccl_double::count("destroy", 0) == 0);
  }
}

TEST_CASE("nccl: a failed identification is an error of all ranks", "[nccl][reliability]") {
  nccl_double::reset();
  nccl_double::fail("get_unique_id", 0, 2);
  for (const std::string& message : errors(3, 60s, exchange)) {
    CHECK_THAT(message, contains("ncclGetUniqueId of rank 0 (this process): unhandled system "
                                 "error"));
  }
  for (int rank = 0; rank < 3; ++rank) CHECK(nccl_double::count("init", rank) == 0);
}

TEST_CASE("nccl: work that never ends runs into the deadline", "[nccl][reliability]") {
  SECTION("on the host") {
    nccl_double::reset();
    nccl_double::fail("state", 0, nccl::in_progress);
    CHECK_THAT(errors(2, 200ms, exchange)[0],
               contains("rank 0 (this process): exchange (call 1), 101 bytes to and 200 bytes from "
                        "rank 1 (this process): not ended within 200 ms"));
  }
  SECTION("on the GPU") {
    nccl_double::reset();
    host_gpu::work_ends = false;
    const std::vector<std::string> messages = errors(2, 200ms, exchange);
    host_gpu::work_ends = true;
    for (const std::string& message : messages)
      CHECK_THAT(message, contains("not ended within 200 ms"));
    CHECK(nccl_double::count("abort", 1) == 1);
  }
  CHECK(nccl_double::count("abort", 0) == 1);
  CHECK(nccl_double::count("destroy", 0) == 0);
  CHECK(nccl_double::count("misuse", 0) == 0);
}

TEST_CASE("nccl: an error at the end is no exception of the destructor", "[nccl][reliability]") {
  for (const char* function : {"finalize", "destroy"}) {
    INFO(function);
    nccl_double::reset();
    nccl_double::fail(function, 1, 2);
    for (const std::string& message : errors(2, 200ms, exchange)) CHECK(message.empty());
    const bool is_ended = std::string(function) == "destroy";
    CHECK(nccl_double::count("destroy", 1) == (is_ended ? 1 : 0));
    CHECK(nccl_double::count("abort", 1) == (is_ended ? 0 : 1));
    CHECK(nccl_double::count("misuse", 1) == 0);
  }
}

TEST_CASE("nccl: a rank that throws aborts and does not wait for the others",
          "[nccl][reliability]") {
  nccl_double::reset();
  const std::vector<std::string> messages = errors(3, 60s, [](Communicator& gpus) {
    exchange(gpus);
    if (gpus.rank() == 2) throw std::runtime_error("no data");
    exchange(gpus);
  });
  CHECK(messages[2] == "no data");
  CHECK_THAT(messages[0], contains("rank 2 (this process) failed: no data"));
  for (int rank = 0; rank < 3; ++rank) {
    CHECK(nccl_double::count("abort", rank) == 1);
    CHECK(nccl_double::count("destroy", rank) == 0);
    CHECK(nccl_double::count("misuse", rank) == 0);
  }
  nccl_double::reset();
  const std::vector<std::string> aborted = errors(2, 60s, [](Communicator& gpus) {
    if (gpus.rank() == 1) gpus.abort("no space");
    exchange(gpus);
  });
  for (const std::string& message : aborted) CHECK(message == "rank 1 (this process): no space");
  CHECK(nccl_double::count("abort", 1) == 1);
}

TEST_CASE("nccl: calls and sizes that differ are errors before NCCL is called",
          "[nccl][reliability]") {
  nccl_double::reset();
  std::vector<std::string> messages = errors(2, 300ms, [](Communicator& gpus) {
    std::array<std::byte, 4> bytes{};
    if (gpus.rank() == 1) exchange(gpus);
    gpus.broadcast(bytes, 0, Device::cuda);
  });
  CHECK_THAT(messages[0], contains("broadcast (call 1) from rank 0: rank 1 (this process) called "
                                   "exchange (call 1)"));
  CHECK_THAT(messages[1], contains("exchange (call 1): rank 0 (this process) called broadcast "
                                   "(call 1) from rank 0"));
  for (int rank = 0; rank < 2; ++rank) CHECK(nccl_double::count("group_start", rank) == 0);

  nccl_double::reset();
  messages = errors(2, 300ms, [](Communicator& gpus) {
    std::vector<std::byte> bytes(gpus.rank() == 0 ? 4 : 5);
    gpus.broadcast(bytes, 0, Device::cuda);
  });
  CHECK(messages[1] ==
        "broadcast (call 1) from rank 0: expected 5 bytes from rank 0 (this "
        "process), got 4");
}

TEST_CASE("nccl: every rank needs a GPU of its own", "[nccl][reliability]") {
  nccl_double::reset();
  nccl_double::set_gpus(nccl_double::Gpus::shared);
  for (const std::string& message : errors(2, 60s, exchange)) {
    CHECK_THAT(message, contains("rank 0 (this process) and rank 1 (this process) have the same "
                                 "GPU, 0000:00:00.0; expected one GPU for each rank: set "
                                 "CUDA_VISIBLE_DEVICES"));
  }
  nccl_double::reset();
  host_gpu::is_there = false;
  const std::vector<std::string> messages = errors(2, 60s, exchange);
  host_gpu::is_there = true;
  for (const std::string& message : messages)
    CHECK_THAT(message, contains("nccl_ranks: rank 0 (this process) has no Device::cuda"));
  for (const std::string& message : errors(1, 0ms, exchange))
    CHECK(message == "nccl_ranks: expected a deadline of at least 1 ms, got 0");
  for (int rank = 0; rank < 2; ++rank) CHECK(nccl_double::calls(rank).empty());
}

TEST_CASE("communicator: a call in captured work is refused", "[nccl]") {
  nccl_double::reset();
  const auto call = [](Communicator& ranks) {
    std::array<std::byte, 4> bytes{};
    host_gpu::is_capturing = true;
    ranks.broadcast(bytes, 0, Device::cuda);
  };
  const std::vector<std::string> messages = errors(2, 60s, call);
  host_gpu::is_capturing = false;
  for (const std::string& message : messages)
    CHECK_THAT(message, contains("broadcast: expected work that is not captured"));
  for (int rank = 0; rank < 2; ++rank) CHECK(nccl_double::count("group_start", rank) == 0);
}
