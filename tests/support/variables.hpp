#pragma once
/// Leaves with given or random values, random parameters, and scalars of tensors, for tests of
/// gradients and layers.

#include <cstdint>
#include <initializer_list>
#include <vector>

#include "refrain/nn/initialize.hpp"
#include "refrain/nn/module.hpp"
#include "refrain/ops/pointwise.hpp"
#include "support/tensors.hpp"

namespace refrain::test {

inline constexpr Placement f64{.dtype = DType::f64};

/// A leaf of standard normal numbers.
inline Variable leaf(const Shape& shape, std::uint64_t seed) {
  return Variable(random_tensor<double>(shape, seed), true);
}

/// A leaf [values].
inline Variable leaf_of(std::initializer_list<double> values, bool requires_grad = true) {
  return Variable(Tensor::from<double>({static_cast<std::int64_t>(values.size())}, values),
                  requires_grad);
}

/// A scalar to which every element of y contributes with a different weight.
inline Variable weighted(const Variable& y) {
  return dot(y, Variable(random_tensor<double>(y.shape(), 99)));
}

/// The parameters of a module, then `others`.
inline std::vector<Variable> leaves_of(Module& module, const std::vector<Variable>& others = {}) {
  std::vector<Variable> leaves;
  for (const NamedParameter& named : module.parameters()) leaves.push_back(*named.parameter);
  leaves.insert(leaves.end(), others.begin(), others.end());
  return leaves;
}

/// Fills every parameter with normal numbers, so that none is zero or one.
inline void redraw(Module& module, std::uint64_t seed, double deviation = 0.3) {
  for (const NamedParameter& named : module.parameters())
    Random(seed++).fill_normal(named.parameter->value(), deviation);
}

}  // namespace refrain::test
