#pragma once
/// Matrices on which kernels that work on rows are tested.

#include <cstdint>

namespace refrain::test {

struct RowSize {
  std::int64_t rows;
  std::int64_t width;
};

/// None, one, primes, vector length - 1, exact and + 1, several tasks.
inline constexpr RowSize row_sizes[] = {{0, 7},  {1, 1},   {1, 64},   {3, 15},    {5, 16},
                                        {7, 17}, {31, 33}, {257, 64}, {1009, 97}, {40000, 5}};

}  // namespace refrain::test
