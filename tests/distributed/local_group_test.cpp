/// Collectives between threads, and their errors.

#include <array>
#include <chrono>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "distributed/conformance.hpp"
#include "refrain/distributed/local_group.hpp"
#include "support/catch.hpp"

using namespace refrain;
using namespace refrain::test;
using namespace std::chrono_literals;

namespace local_group_test {

/// The messages of the errors of all ranks; empty for a rank without an error.
std::vector<std::string> errors(int ranks, const LocalGroupOptions& options,
                                const std::function<void(Communicator&)>& body) {
  std::vector<std::string> messages(static_cast<std::size_t>(ranks));
  std::mutex mutex;
  try {
    LocalGroup(ranks, options).run([&](Communicator& communicator) {
      try {
        body(communicator);
      } catch (const std::exception& error) {
        const std::lock_guard lock(mutex);
        messages[static_cast<std::size_t>(communicator.rank())] = error.what();
        throw;
      }
    });
  } catch (const std::exception&) {
  }
  return messages;
}

void gather_one(Communicator& communicator) { any_bits(communicator, 0); }

}  // namespace local_group_test

TEST_CASE("local group: collectives of 1 to 8 ranks", "[distributed]") {
  for (int ranks = 1; ranks <= 8; ++ranks) {
    for (const auto& [name, check] : conformance::cases()) {
      INFO(name << ", " << ranks << " ranks");
      CHECK_NOTHROW(LocalGroup(ranks).run(check));
    }
  }
}

TEST_CASE("local group: results do not depend on which rank is slow", "[distributed]") {
  const LocalGroupOptions options{.delay = [](int rank, std::int64_t call) {
    return std::chrono::microseconds((rank * 7 + call * 3) % 5 * 300);
  }};
  for (const auto& [name, check] : conformance::cases()) {
    INFO(name);
    CHECK_NOTHROW(LocalGroup(4, options).run(check));
  }
}

TEST_CASE("communicator: one rank alone", "[distributed]") {
  const std::unique_ptr<Communicator> communicator = alone();
  CHECK(communicator->size() == 1);
  for (const auto& [name, check] : conformance::cases()) {
    INFO(name);
    CHECK_NOTHROW(check(*communicator));
  }
  CHECK(communicator->counts().calls > 0);
  CHECK(communicator->counts().bytes_sent == 0);
  CHECK_THROWS_MATCHES(communicator->abort("no data"), CommunicationError,
                       message_contains(": no data"));
}

TEST_CASE("communicator: arguments are checked", "[distributed]") {
  const std::unique_ptr<Communicator> communicator = alone();
  std::array<std::byte, 4> bytes{};
  CHECK_THROWS_MATCHES(communicator->broadcast(bytes, 1), OptionError,
                       message_contains("expected a root from 0 to 0, got 1"));
  CHECK_THROWS_MATCHES(communicator->all_gather(bytes, {}), OptionError,
                       message_contains("expected 1 entries, one per rank, got 0"));
  std::array<std::byte, 3> shorter{};
  const std::array<std::span<std::byte>, 1> blocks{shorter};
  CHECK_THROWS_MATCHES(communicator->all_gather(bytes, blocks), OptionError,
                       message_contains("expected 4 bytes in the entry of the own rank, got 3"));
  CHECK_THROWS_MATCHES(LocalGroup(0), OptionError, message_contains("got 0"));
  CHECK_THROWS_MATCHES(LocalGroup(2, {.deadline = 0ms, .delay = {}}), OptionError,
                       message_contains("got 0"));
}

TEST_CASE("local group: a rank that throws ends the others with an error that names it",
          "[distributed]") {
  using namespace local_group_test;
  const auto body = [](Communicator& communicator) {
    gather_one(communicator);
    if (communicator.rank() == 2) throw std::runtime_error("no memory");
    while (true) gather_one(communicator);
  };
  const std::vector<std::string> messages = errors(4, {}, body);
  CHECK(messages[2] == "no memory");
  for (const int rank : {0, 1, 3})
    CHECK_THAT(messages[static_cast<std::size_t>(rank)],
               contains("rank 2 (this process) failed: no memory"));
  CHECK_THROWS_MATCHES(LocalGroup(4).run(body), std::runtime_error, message_contains("no memory"));
}

TEST_CASE("local group: abort ends all ranks", "[distributed]") {
  using namespace local_group_test;
  const std::vector<std::string> messages = errors(3, {}, [](Communicator& communicator) {
    if (communicator.rank() == 1) communicator.abort("the disk is full");
    gather_one(communicator);
  });
  for (const std::string& message : messages)
    CHECK_THAT(message, contains("rank 1 (this process): the disk is full"));
}

TEST_CASE("local group: calls that differ are errors, not a deadlock", "[distributed]") {
  using namespace local_group_test;
  const auto expect_all = [](const std::string& part,
                             const std::function<void(Communicator&)>& body) {
    for (const std::string& message : errors(3, {}, body)) CHECK_THAT(message, contains(part));
  };
  expect_all("rank 0 called all_gather (call 1), rank 2 called broadcast (call 1)",
             [](Communicator& communicator) {
               if (communicator.rank() != 2) return gather_one(communicator);
               std::array<std::byte, 8> bytes{};
               communicator.broadcast(bytes, 1);
             });
  expect_all("called broadcast (call 1) from rank 1", [](Communicator& communicator) {
    std::array<std::byte, 8> bytes{};
    communicator.broadcast(bytes, communicator.rank() == 1 ? 1 : 0);
  });
  expect_all("rank 1 expected 7 bytes from rank 0, got 8", [](Communicator& communicator) {
    std::array<std::byte, 8> bytes{};
    communicator.broadcast(std::span(bytes).first(communicator.rank() == 1 ? 7 : 8), 0);
  });
  expect_all("all_gather (call 1): rank 1 expected 16 bytes from rank 0, got 8",
             [](Communicator& communicator) {
               const std::vector<std::uint64_t> own(communicator.rank() == 1 ? 2 : 1);
               gather_values<std::uint64_t>(communicator, own);
             });
}

TEST_CASE("local group: a rank that returns early is an error of the others", "[distributed]") {
  using namespace local_group_test;
  const std::vector<std::string> messages = errors(3, {}, [](Communicator& communicator) {
    if (communicator.rank() != 2) gather_one(communicator);
  });
  CHECK(messages[2].empty());
  CHECK_THAT(messages[0], contains("rank 2 has ended; expected all_gather (call 1)"));
  CHECK(messages[1] == messages[0]);
}

TEST_CASE("local group: a rank that does not answer within the deadline is an error",
          "[distributed]") {
  using namespace local_group_test;
  const auto start = std::chrono::steady_clock::now();
  const std::vector<std::string> messages =
      errors(3, {.deadline = 50ms, .delay = {}}, [](Communicator& communicator) {
        gather_one(communicator);
        if (communicator.rank() == 1) std::this_thread::sleep_for(400ms);
        gather_one(communicator);
      });
  for (const std::string& message : messages)
    CHECK_THAT(message, contains("all_gather (call 2): no answer from rank 1 within 50 ms"));
  CHECK(std::chrono::steady_clock::now() - start < 60s);
}
