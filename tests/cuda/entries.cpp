/// Which kernels have a test, the random seed, and the device of the golden cases.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <set>

#include "cuda/arena.hpp"
#include "refrain/kernels/table.hpp"
#include "support/goldens.hpp"
#include "support/support_matrix.hpp"

namespace refrain::test {
namespace {

std::set<std::string>& entries() {
  static std::set<std::string> names;
  return names;
}

}  // namespace

bool note_entry(const char* name) { return entries().insert(name).second; }

std::vector<std::string> noted_entries() { return {entries().begin(), entries().end()}; }

std::uint64_t seed_of_run() {
  static const std::uint64_t seed = [] {
    const char* given = std::getenv("REFRAIN_SEED");
    const std::uint64_t chosen =
        given != nullptr && *given != '\0' ? std::strtoull(given, nullptr, 10) : 1;
    std::printf("REFRAIN_SEED=%llu\n", static_cast<unsigned long long>(chosen));
    return chosen;
  }();
  return seed;
}

int rounds_of_run(int wanted) {
  const char* given = std::getenv("REFRAIN_ROUNDS");
  return given != nullptr && *given != '\0' ? std::clamp(std::atoi(given), 1, wanted) : wanted;
}

std::vector<GoldenRun> golden_runs() { return {{DType::f32, Device::cuda}}; }

}  // namespace refrain::test

using namespace refrain;

TEST_CASE("cuda: every entry of the table has a case", "[cuda]") {
  std::vector<std::string> expected;
  for (const test::TableEntry& entry : test::entries_of(kernels::table(Device::cpu)))
    expected.push_back(entry.name);
  std::sort(expected.begin(), expected.end());
  CHECK(test::noted_entries() == expected);
}
