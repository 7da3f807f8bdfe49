#pragma once
/// Checks gradients against central differences.

#include <cmath>
#include <string>
#include <vector>

#include "refrain/autograd/tape.hpp"

namespace refrain {

/// Step and tolerances of gradcheck().
struct GradcheckOptions {
  double step = 1e-6;      ///< half the distance between the two points
  double absolute = 1e-6;  ///< allowed |difference| ...
  double relative = 1e-5;  ///< ... plus this times |numeric derivative|
};

/// Returns a message about the first disagreement between backward() and central differences, or an
/// empty string.
///
/// `function()` computes a scalar from `leaves` and returns the same value in every call. The
/// numeric derivative of each element x of each leaf is (f(x + step) - f(x - step)) / (2 step).
/// Leaves: f64 on the CPU, requiring gradients. Throws DTypeError for another dtype.
template <class Function>
std::string gradcheck(Function&& function, std::vector<Variable> leaves,
                      GradcheckOptions options = {}) {
  for (Variable& leaf : leaves) {
    if (leaf.dtype() != DType::f64)
      throw DTypeError(detail::concat("gradcheck: expected f64 leaves, got ", leaf.dtype()));
    leaf.zero_grad();
  }
  backward(function());
  for (std::size_t which = 0; which < leaves.size(); ++which) {
    Variable& leaf = leaves[which];
    const Tensor analytic = leaf.gradient().defined() ? leaf.gradient().to_dense(leaf.shape())
                                                      : Tensor::zeros(leaf.shape(), DType::f64);
    double* values = leaf.value().data<double>();
    for (std::int64_t i = 0; i < leaf.value().numel(); ++i) {
      const NoGrad off;
      const double before = values[i];
      values[i] = before + options.step;
      const double above = function().item();
      values[i] = before - options.step;
      const double below = function().item();
      values[i] = before;
      const double numeric = (above - below) / (2 * options.step);
      const double got = analytic.data<double>()[i];
      if (!(std::abs(got - numeric) <= options.absolute + options.relative * std::abs(numeric))) {
        return detail::concat("leaf ", which, " ", leaf.shape(), " element ", i,
                              ": backward gives ", got, ", differences give ", numeric);
      }
    }
  }
  return {};
}

}  // namespace refrain
