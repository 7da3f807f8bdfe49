#pragma once
/// From a history to a printed list.

#include <vector>

#include "common/recommendation.hpp"

namespace refrain::peterrec {

using examples::best;
using examples::described;
using examples::Recommended;

/// softmax of one row of scores [1,K].
std::vector<double> probabilities(const Tensor& scores);

}  // namespace refrain::peterrec
