#pragma once
/// Initial values of parameters.

#include <cstdint>

#include "refrain/core/random.hpp"
#include "refrain/nn/module.hpp"

namespace refrain {

/// Whether the constructor of a layer initializes its parameters.
enum class Fill : std::uint8_t {
  initial,   ///< Weights are drawn, biases are constant.
  deferred,  ///< Parameters are uninitialized until load_model() or load_patch() fills them.
};

/// Element type and device of a layer's parameters, and whether they are initialized.
struct Placement {
  DType dtype = DType::f32;
  Device device = Device::cpu;
  Fill fill = Fill::initial;
};

namespace initialize {

/// A parameter with truncated normal elements: normal numbers of the given standard deviation,
/// redrawn beyond two deviations (0.02 in the published models). With Fill::deferred it is
/// unfilled, and nothing is drawn from `random`.
inline Parameter truncated_normal(const Shape& shape, double deviation, Random& random,
                                  Placement placement) {
  if (placement.fill == Fill::deferred)
    return Parameter::unfilled(Tensor(shape, placement.dtype, placement.device));
  Tensor host(shape, placement.dtype);
  random.fill_truncated_normal(host, deviation);
  return Parameter(host.to(placement.device));
}

/// A parameter whose elements are all `value`. With Fill::deferred it is unfilled.
inline Parameter constant(const Shape& shape, double value, Placement placement) {
  if (placement.fill == Fill::deferred)
    return Parameter::unfilled(Tensor(shape, placement.dtype, placement.device));
  return Parameter(Tensor::full(shape, value, placement.dtype, placement.device));
}

}  // namespace initialize
}  // namespace refrain
