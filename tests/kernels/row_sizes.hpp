#pragma once
/// Sizes of matrices for tests of CPU kernels on rows.

#include "support/cases/rows.hpp"

namespace refrain::test {

/// No rows, sizes of one, primes, sizes around a vector, several tasks.
inline constexpr RowCase row_sizes[] = {{0, 7},  {1, 1},   {1, 64},   {3, 15},    {5, 16},
                                        {7, 17}, {31, 33}, {257, 64}, {1009, 97}, {40000, 5}};

}  // namespace refrain::test
