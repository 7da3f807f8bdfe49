#pragma once
/// Dropout as an option of a model.

#include <optional>

#include "refrain/nn/dropout.hpp"

namespace refrain::models {

/// The probability of keeping an element. Throws OptionError, naming the model, unless 0 <= dropout
/// < 1.
inline double kept_by_dropout(const char* model, double dropout) {
  if (!(dropout >= 0 && dropout < 1))
    throw OptionError(detail::concat(model, ": expected 0 <= dropout < 1, got ", dropout));
  return 1 - dropout;
}

/// A layer that drops with probability `dropout`; no layer for 0, which draws nothing from `random`
/// and adds no random stream to the state of a training. Throws as kept_by_dropout() does.
inline std::optional<Dropout> training_dropout(const char* model, double dropout, Random& random) {
  const double keep = kept_by_dropout(model, dropout);
  if (dropout == 0) return std::nullopt;
  return std::make_optional<Dropout>(DropoutOptions{.keep = keep}, random.split(random.bits()));
}

}  // namespace refrain::models
