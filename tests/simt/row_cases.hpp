#pragma once
/// Matrices on which CUDA kernels on rows are tested.

#include "support/cases/rows.hpp"
#include "support/simt/emulated_backend.hpp"

namespace refrain::test {

/// None, one, short odd rows, a team of each kind, rows longer than a block's pass, several slices
/// of rows; tensors that start off a multiple of 16 bytes.
inline constexpr RowCase row_cases[] = {{0, 4},      {1, 1},    {7, 3},   {5, 4},  {70, 20},
                                        {70, 20, 1}, {3, 1200}, {3, 301}, {600, 5}};

}  // namespace refrain::test
