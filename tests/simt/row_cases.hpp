#pragma once
/// Matrices on which CUDA kernels that work on rows are tested.

#include <cstdint>

#include "support/catch.hpp"

namespace refrain::test {

struct RowCase {
  std::int64_t rows;
  std::int64_t width;
  int offset;
};

/// None, one, short odd rows, a team of each kind, rows longer than a block's pass, several slices
/// of rows; tensors that start off a multiple of 16 bytes.
inline constexpr RowCase row_cases[] = {{0, 4, 0},    {1, 1, 0},   {7, 3, 0},
                                        {5, 4, 0},    {70, 20, 0}, {70, 20, 1},
                                        {3, 1200, 0}, {3, 301, 0}, {600, 5, 0}};

template <class Body>
void for_row_cases(Body body) {
  for (const auto& [rows, width, offset] : row_cases) {
    INFO(rows << " rows of " << width << ", " << offset << " past a multiple of 16 bytes");
    body(rows, width, offset);
  }
}

}  // namespace refrain::test
