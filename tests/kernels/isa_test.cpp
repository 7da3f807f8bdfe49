/// Instruction set levels of the CPU kernels.

#include <cstdlib>
#include <map>
#include <string>

#include "refrain/core/isa.hpp"
#include "refrain/kernels/table.hpp"
#include "support/catch.hpp"

using namespace refrain;

TEST_CASE("isa: the level in use is the one that was asked for, and its kernels have its vectors",
          "[core][kernel]") {
  const std::string level = cpu_isa();
  const char* const asked = std::getenv("REFRAIN_ISA");
  if (asked != nullptr && *asked != '\0') CHECK(level == asked);
  const std::map<std::string, std::size_t> vector_bytes{{"baseline", 16}, {"v3", 32}, {"v4", 64}};
  // A packed panel of one column is one vector wide; how wide that is for "native" depends on the
  // machine.
  const std::size_t bytes = kernels::table(Device::cpu).packed_bytes(1, 1, DType::f32);
  const auto known = vector_bytes.find(level);
#if defined(__x86_64__)
  if (known != vector_bytes.end()) CHECK(bytes == known->second);
#endif
  if (known == vector_bytes.end()) CHECK(level == "native");
}
