/// Instruction set levels of the CPU kernels.

#include <algorithm>
#include <cstdlib>
#include <map>
#include <span>
#include <string>

#include "refrain/core/isa.hpp"
#include "refrain/core/tensor.hpp"
#include "refrain/kernels/matmul.hpp"
#include "refrain/kernels/run.hpp"
#include "support/catch.hpp"

using namespace refrain;

TEST_CASE("isa: the requested level is in use, and its kernels use its vectors", "[core][kernel]") {
  const std::string level = cpu_isa();
  const char* const asked = std::getenv("REFRAIN_ISA");
  if (asked != nullptr && *asked != '\0') CHECK(level == asked);
  const std::map<std::string, std::size_t> vector_bytes{{"baseline", 16}, {"v3", 32}, {"v4", 64}};
  // A packed panel of one column is as wide as one vector, which is the distance between two rows.
  // Its width for "native" depends on the machine.
  const Tensor column = Tensor::from<float>({2, 1}, {1, 2});
  Tensor packed = Tensor::zeros({kernels::packed_elements(2, 1)}, DType::f32);
  kernels::run<kernels::PackWeights>({.b = column, .packed = packed});
  const std::span<const float> elements = packed.span<float>();
  const auto second = std::find(elements.begin(), elements.end(), 2.0f);
  const std::size_t bytes = sizeof(float) * static_cast<std::size_t>(second - elements.begin());
  const auto known = vector_bytes.find(level);
#if defined(__x86_64__)
  if (known != vector_bytes.end()) CHECK(bytes == known->second);
#endif
  if (known == vector_bytes.end()) CHECK(level == "native");
}
