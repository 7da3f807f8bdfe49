#pragma once
/// Matrices on which the CPU's kernels on rows are tested.

#include "support/cases/rows.hpp"

namespace refrain::test {

/// None, one, primes, vector length - 1, exact and + 1, several tasks.
inline constexpr RowCase row_sizes[] = {{0, 7},  {1, 1},   {1, 64},   {3, 15},    {5, 16},
                                        {7, 17}, {31, 33}, {257, 64}, {1009, 97}, {40000, 5}};

}  // namespace refrain::test
