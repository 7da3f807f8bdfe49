#include "support/goldens.hpp"

std::vector<refrain::test::GoldenRun> refrain::test::golden_runs() {
  return {{DType::f32, Device::cpu}, {DType::f64, Device::cpu}};
}
