/// Handshake, rows of all ranks, shares of the cores, and the guard against launchers.

#if defined(__linux__)
#include <sched.h>
#endif

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "refrain/autograd/tape.hpp"
#include "refrain/core/parallel.hpp"
#include "refrain/distributed/agreement.hpp"
#include "refrain/distributed/launcher.hpp"
#include "refrain/distributed/local_group.hpp"
#include "support/catch.hpp"
#include "support/skip.hpp"

using namespace refrain;
using namespace refrain::test;

namespace agreement_test {

/// Sets environment variables for one scope, without those of other launchers.
class Environment {
 public:
  explicit Environment(const std::vector<std::pair<const char*, const char*>>& variables) {
    for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK", "SLURM_PROCID",
                             "SLURM_STEP_NUM_TASKS"}) {
      const char* value = std::getenv(name);
      before_.emplace_back(name, value != nullptr ? value : "");
      ::unsetenv(name);
    }
    for (const auto& [name, value] : variables) ::setenv(name, value, 1);
  }
  ~Environment() {
    for (const auto& [name, value] : before_)
      value.empty() ? ::unsetenv(name) : ::setenv(name, value.c_str(), 1);
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  std::vector<std::pair<const char*, std::string>> before_;
};

std::string launched(const std::vector<std::pair<const char*, const char*>>& variables) {
  const Environment scope(variables);
  return launched_as_one_of_several();
}

}  // namespace agreement_test

TEST_CASE("handshake: names that a rank lacks and all differences are listed", "[distributed]") {
  CHECK_THROWS_MATCHES(
      LocalGroup(3).run([](Communicator& communicator) {
        Identity identity{{"version", communicator.rank() == 2 ? "0.2" : "0.1"}};
        if (communicator.rank() == 1) identity.emplace_back("options", "");
        handshake(communicator, identity);
      }),
      CommunicationError,
      message_contains("options: rank 1 (this process) has , rank 0 (this process) has no value\n"
                       "  version: rank 2 (this process) has 0.2, rank 0 (this process) has 0.1"));
}

TEST_CASE("handshake: a build has a version, a CPU level, a math mode and its arithmetic",
          "[distributed]") {
  const Identity identity = build_identity();
  for (const auto& [name, value] : identity) {
    INFO(name);
    CHECK_FALSE(value.empty());
  }
  CHECK(identity.size() == 5);
  CHECK(identity.back().first == "arithmetic");
  CHECK(identity.back().second.size() == 16);
}

TEST_CASE("handshake: the arithmetic of a process is the same on every thread", "[distributed]") {
  Identity without_recording;
  {
    const NoGrad off;
    const SerialLoops serial;
    without_recording = build_identity();
  }
  LocalGroup(3).run([&](Communicator& communicator) {
    if (build_identity() != without_recording) communicator.abort("another arithmetic");
    handshake(communicator, build_identity());
  });
}

TEST_CASE("thread_share: ranks share the cores that they may use", "[distributed]") {
  std::vector<int> shares(4);
  LocalGroup(4).run([&](Communicator& communicator) {
    shares[static_cast<std::size_t>(communicator.rank())] = thread_share(communicator);
  });
  const int cores = thread_share(*alone());
  CHECK(cores >= 1);
  CHECK(shares == std::vector<int>(4, std::max(1, cores / 4)));
}

#if defined(__linux__)
TEST_CASE("thread_share: ranks that are bound to cores of their own share nothing",
          "[distributed]") {
  cpu_set_t usable;
  REQUIRE(::sched_getaffinity(0, sizeof(usable), &usable) == 0);
  std::vector<std::size_t> cores;
  for (std::size_t core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &usable)) cores.push_back(core);
  }
  if (cores.size() < 2) REFRAIN_SKIP("one core");
  std::vector<int> shares(3);
  LocalGroup(3).run([&](Communicator& communicator) {
    // Rank 0 has the first core, ranks 1 and 2 share all others.
    cpu_set_t set;
    CPU_ZERO(&set);
    for (std::size_t i = 0; i < cores.size(); ++i) {
      if ((i == 0) == (communicator.rank() == 0)) CPU_SET(cores[i], &set);
    }
    if (::sched_setaffinity(0, sizeof(set), &set) != 0) communicator.abort("cannot bind a thread");
    shares[static_cast<std::size_t>(communicator.rank())] = thread_share(communicator);
  });
  const int half = std::max(1, static_cast<int>(cores.size() - 1) / 2);
  CHECK(shares == std::vector<int>{1, half, half});
}
#endif

TEST_CASE("gather_rows: arguments are checked on all ranks", "[distributed]") {
  const auto gather = [](Shape ids, Shape values, DType dtype) {
    gather_rows(*alone(), Tensor::zeros(ids, DType::i32), Tensor::zeros(values, dtype));
  };
  CHECK_NOTHROW(gather({2}, {2, 3}, DType::f64));
  CHECK_THROWS_MATCHES(gather({2}, {3, 3}, DType::f32), ShapeError,
                       message_contains("got [2] and [3, 3]"));
  CHECK_THROWS_MATCHES(gather({2}, {2, 3}, DType::i64), DTypeError, message_contains("i64"));
  CHECK_THROWS_MATCHES(LocalGroup(2).run([](Communicator& communicator) {
    gather_rows(communicator, Tensor::zeros({1}, DType::i32),
                Tensor::zeros({1, 3 + communicator.rank()}, DType::f32));
  }),
                       ShapeError,
                       message_contains("rank 1 (this process) has rows of 4 elements"));
  CHECK_THROWS_MATCHES(LocalGroup(2).run([](Communicator& communicator) {
    gather_rows(communicator, Tensor::zeros({1}, DType::i32),
                Tensor::zeros({1, 3}, communicator.rank() == 0 ? DType::f32 : DType::f64));
  }),
                       DTypeError, message_contains("rank 1 (this process) has values of f64"));
}

TEST_CASE("launcher: a process that is one of several is recognized", "[distributed]") {
  using agreement_test::launched;
  CHECK(launched({}).empty());
  CHECK(launched({{"OMPI_COMM_WORLD_SIZE", "1"}, {"PMIX_RANK", "0"}}).empty());
  CHECK(launched({{"OMPI_COMM_WORLD_SIZE", "4"}}) == "OMPI_COMM_WORLD_SIZE=4");
  CHECK(launched({{"PMI_SIZE", "2"}}) == "PMI_SIZE=2");
  CHECK(launched({{"PMIX_RANK", "3"}}) == "PMIX_RANK=3");
  CHECK(launched({{"SLURM_PROCID", "0"}, {"SLURM_STEP_NUM_TASKS", "2"}}) ==
        "SLURM_STEP_NUM_TASKS=2");
  CHECK(launched({{"SLURM_STEP_NUM_TASKS", "2"}}).empty());
  CHECK(launched({{"PMI_SIZE", "many"}}).empty());
}
