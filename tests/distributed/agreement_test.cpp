/// Handshake, rows of all ranks, and the guard against launchers.

#include <cstdlib>
#include <string>
#include <vector>

#include "refrain/distributed/agreement.hpp"
#include "refrain/distributed/launcher.hpp"
#include "refrain/distributed/local_group.hpp"
#include "support/catch.hpp"

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

TEST_CASE("handshake: a build has a version, a CPU level and a math mode", "[distributed]") {
  for (const auto& [name, value] : build_identity()) {
    INFO(name);
    CHECK_FALSE(value.empty());
  }
  CHECK(build_identity().size() == 4);
}

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
