#pragma once
/// Random inputs of the suites.

#include <cstdint>

#include "refrain/core/random.hpp"
#include "refrain/core/tensor.hpp"

namespace refrain::bench {

inline Tensor normal(const Shape& shape, Random& random, double deviation = 1) {
  Tensor tensor(shape, DType::f32);
  random.fill_normal(tensor, deviation);
  return tensor;
}

inline Tensor random_ids(const Shape& shape, std::int64_t bound, Random& random) {
  Tensor ids(shape, DType::i32);
  for (std::int32_t& id : ids.span<std::int32_t>())
    id = static_cast<std::int32_t>(random.below(bound));
  return ids;
}

}  // namespace refrain::bench
