#pragma once
/// A module of two bare parameters whose gradients tests set.

#include <cstdint>
#include <span>
#include <vector>

#include "refrain/nn/module.hpp"
#include "support/tensors.hpp"

namespace refrain::test {

class PairModule final : public Module {
 public:
  PairModule(const Tensor& a, const Tensor& b) : first(a.clone()), second(b.clone()) {}
  void visit_members(Visitor& visitor) override {
    visitor.parameter("first", first);
    visitor.parameter("second", second, decay_of_second);
  }
  Parameter first;
  Parameter second;
  WeightDecay decay_of_second = WeightDecay::applied;
};

inline void set_gradient(Parameter& parameter, const Tensor& gradient) {
  parameter.zero_grad();
  parameter.gradient().add(gradient.clone());
}

inline void set_rows(Parameter& parameter, const std::vector<std::int32_t>& rows,
                     const Tensor& values) {
  parameter.zero_grad();
  const Tensor ids = Tensor::from<std::int32_t>({static_cast<std::int64_t>(rows.size())},
                                                std::span<const std::int32_t>(rows));
  parameter.gradient().add(RowSparse{ids, values.clone()});
}

}  // namespace refrain::test
