#pragma once
/// Sizes of matrices for tests of CUDA kernels on rows.

#include "support/cases/rows.hpp"
#include "support/simt/emulated_backend.hpp"

namespace refrain::test {

/// No rows; one element; short odd rows; teams of each size; rows longer than one pass of a block;
/// several slices of rows; unaligned tensors.
inline constexpr RowCase row_cases[] = {{0, 4},      {1, 1},    {7, 3},   {5, 4},  {70, 20},
                                        {70, 20, 1}, {3, 1200}, {3, 301}, {600, 5}};

}  // namespace refrain::test
