/// The GPU that a process of several takes.

#include "common/gpus.hpp"

#include "support/catch.hpp"

using refrain::examples::own_gpu;

TEST_CASE("gpus: each process on a host takes its own", "[examples]") {
  CHECK(own_gpu(nullptr, 4, 0) == "0");
  CHECK(own_gpu(nullptr, 4, 3) == "3");
  CHECK(own_gpu("2,GPU-7f,5", 8, 1) == "GPU-7f");
  // More processes than GPUs share them.
  CHECK(own_gpu(nullptr, 2, 5) == "1");
  CHECK(own_gpu("3,1", 8, 2) == "3");
}

TEST_CASE("gpus: without a choice the setting stays", "[examples]") {
  CHECK(own_gpu(nullptr, 0, 1).empty());
  CHECK(own_gpu(nullptr, 1, 1).empty());
  CHECK(own_gpu("3", 8, 1).empty());  // as a launcher sets it for each process
  CHECK(own_gpu("", 8, 1).empty());   // no GPU
}
