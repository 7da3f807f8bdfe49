#pragma once
/// How layers draw their first weights.

#include "refrain/core/random.hpp"
#include "refrain/nn/module.hpp"

namespace refrain {

/// Element type and device of a layer's parameters.
struct Placement {
  DType dtype = DType::f32;
  Device device = Device::cpu;
};

namespace initialize {

/// Normal numbers of the given deviation, cut at two deviations: the published models' choice for
/// weights (deviation 0.02).
inline Parameter truncated_normal(const Shape& shape, double deviation, Random& random,
                                  Placement placement) {
  Tensor host(shape, placement.dtype);
  random.fill_truncated_normal(host, deviation);
  return Parameter(host.to(placement.device));
}

inline Parameter constant(const Shape& shape, double value, Placement placement) {
  return Parameter(Tensor::full(shape, value, placement.dtype, placement.device));
}

}  // namespace initialize
}  // namespace refrain
