#pragma once

#include "refrain/nn/initialize.hpp"
#include "refrain/ops/gather.hpp"

namespace refrain {

/// A table of learned rows, gathered by id.
///
/// ids i32 [...] in [0,count) -> [...,width]. Parameter: weight [count,width], initially truncated
/// normal; its gradient is row-sparse. Throws ShapeError for an id outside the table.
class Embedding final : public Module {
 public:
  struct Options {
    std::int64_t count = 0;
    std::int64_t width = 0;
    double deviation = 0.02;  ///< standard deviation of the initial weights
  };

  /// Draws the rows from `random`.
  Embedding(Options options, Random& random, Placement placement = {})
      : weight_(initialize::truncated_normal({options.count, options.width}, options.deviation,
                                             random, placement)) {}

  Variable operator()(const Tensor& ids) const { return embedding(weight_, ids); }

  const Parameter& weight() const noexcept { return weight_; }

  void visit_members(Visitor& visitor) override { visitor.parameter("weight", weight_); }

 private:
  Parameter weight_;
};

}  // namespace refrain
