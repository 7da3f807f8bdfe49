#include "refrain/version.hpp"

#include <string>

#include "refrain/core/error.hpp"
#include "refrain/kernels/table.hpp"
#include "support/catch.hpp"

using namespace refrain;

TEST_CASE("version: headers, library and build system agree", "[core]") {
  CHECK(std::string(version()) == REFRAIN_PROJECT_VERSION);
  const std::string headers = std::to_string(REFRAIN_VERSION_MAJOR) + "." +
                              std::to_string(REFRAIN_VERSION_MINOR) + "." +
                              std::to_string(REFRAIN_VERSION_PATCH);
  CHECK(headers == REFRAIN_PROJECT_VERSION);
  CHECK(REFRAIN_VERSION / 10000 == REFRAIN_VERSION_MAJOR);
  CHECK(REFRAIN_VERSION / 100 % 100 == REFRAIN_VERSION_MINOR);
  CHECK(REFRAIN_VERSION % 100 == REFRAIN_VERSION_PATCH);
}

TEST_CASE("table: a build without a device's backend is Unsupported", "[core][device]") {
  CHECK_NOTHROW(kernels::table(Device::cpu));
#if REFRAIN_BUILT_WITH_CUDA
  CHECK_NOTHROW(kernels::table(Device::cuda));  // with or without a GPU
#else
  CHECK_THROWS_AS(kernels::table(Device::cuda), Unsupported);
#endif
}
