#pragma once

#include "refrain/nn/module.hpp"
#include "refrain/ops/dropout.hpp"

namespace refrain {

struct DropoutOptions {
  double keep = 1;  ///< probability that an element is kept
};

/// In training, zeroes each element with probability 1 - keep and divides the others by keep; the
/// identity in evaluation.
///
/// The masks are drawn from the layer's random stream, which is part of the state of a resumable
/// training.
///
///   Dropout dropout({.keep = 0.9}, random.split(1));
///
/// Throws OptionError unless 0 < keep <= 1.
class Dropout final : public Module {
 public:
  Dropout(const DropoutOptions& options, Random random) : keep_(options.keep), random_(random) {
    if (!(keep_ > 0 && keep_ <= 1))
      throw OptionError(detail::concat("Dropout: expected 0 < keep <= 1, got ", keep_));
  }

  Variable operator()(const Variable& x) { return is_training() ? dropout(x, keep_, random_) : x; }

  const Random& random() const noexcept { return random_; }
  Random& random() noexcept { return random_; }

  void visit_members(Visitor& visitor) override { visitor.random("random", random_); }

 private:
  double keep_;
  Random random_;
};

}  // namespace refrain
