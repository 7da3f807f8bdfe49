#pragma once
/// Creating and reading tensors in tests, and running a computation with several numbers of
/// threads.

#include <cstdint>
#include <cstring>
#include <vector>

#include "refrain/core/parallel.hpp"
#include "refrain/core/random.hpp"
#include "refrain/core/tensor.hpp"
#include "support/catch.hpp"

namespace refrain::test {

/// Standard normal numbers.
template <class T>
Tensor random_tensor(const Shape& shape, std::uint64_t seed, double deviation = 1) {
  Tensor tensor(shape, dtype_of<T>);
  Random(seed).fill_normal(tensor, deviation);
  return tensor;
}

/// Ids in [0, bound).
inline Tensor random_ids(std::int64_t count, std::int64_t bound, std::uint64_t seed) {
  Tensor ids({count}, DType::i32);
  Random random(seed);
  for (std::int32_t& id : ids.span<std::int32_t>())
    id = static_cast<std::int32_t>(random.below(bound));
  return ids;
}

/// An output filled with a number that no kernel computes.
template <class T>
Tensor garbage(const Shape& shape) {
  return Tensor::full(shape, -77777, dtype_of<T>);
}

inline std::vector<double> doubles(const Tensor& tensor) {
  const Tensor converted = tensor.to(DType::f64);
  return {converted.span<double>().begin(), converted.span<double>().end()};
}

inline std::vector<std::int32_t> integers(const Tensor& tensor) {
  return {tensor.span<std::int32_t>().begin(), tensor.span<std::int32_t>().end()};
}

inline bool same_bytes(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.dtype() == b.dtype() &&
         std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

/// Time step t of x [1,T,C] as [1,1,C].
inline Tensor step_of(const Tensor& x, std::int64_t t) {
  return x.reshape({x.size(1), 1, x.size(2)}).slice(t, t + 1).clone();
}

/// Sets the number of threads for one scope.
class ThreadCount {
 public:
  explicit ThreadCount(int count) : before_(threads()) { set_threads(count); }
  ThreadCount(const ThreadCount&) = delete;
  ThreadCount& operator=(const ThreadCount&) = delete;
  ~ThreadCount() { set_threads(before_); }

 private:
  int before_;
};

/// Checks that `compute`, which returns a vector of new tensors, returns the same bytes with 1, 2,
/// 3 and 5 threads; returns the tensors.
template <class Compute>
std::vector<Tensor> same_for_any_threads(Compute compute) {
  std::vector<Tensor> first;
  for (const int count : {1, 2, 3, 5}) {
    const ThreadCount scope(count);
    const std::vector<Tensor> results = compute();
    if (count == 1) {
      first = results;
      continue;
    }
    REQUIRE(results.size() == first.size());
    for (std::size_t i = 0; i < results.size(); ++i) {
      INFO("output " << i << " with " << count << " threads");
      CHECK(same_bytes(results[i], first[i]));
    }
  }
  return first;
}

}  // namespace refrain::test
