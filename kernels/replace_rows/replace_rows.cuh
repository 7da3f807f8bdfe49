#pragma once
/// Device parts of replace_rows; shapes and grids: cuda.cu.

#include <cstdint>

#include "kernels/simt.hpp"
#include "kernels/tiling/bank_rows.cuh"
#include "kernels/tiling/row_moves.cuh"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

/// Source of copy_rows: row r of the output is row r of x, or the replacement, of a bank the row of
/// its sequence.
struct ReplacedRow {
  const void* x;
  const void* replacement;  ///< null: zeros
  const std::int32_t* ids;
  std::int64_t id;
  BankRows bank{};
  template <class Word>
  __device__ __forceinline__ const Word* row(std::int64_t r, std::int64_t words) const {
    if (ids[r] != id) return static_cast<const Word*>(x) + r * words;
    const std::int64_t of_bank = bank.rows == nullptr ? 0 : bank.rows[r / bank.steps];
    return static_cast<const Word*>(replacement) + of_bank * words;
  }
};

/// Terms of drow for sum_columns: dy where the row was replaced.
template <class T>
struct ReplacedTerms {
  using Element = T;
  static constexpr int sums = 1;
  const T* dy;
  const std::int32_t* ids;
  std::int64_t id;
  std::int64_t width;
  __device__ __forceinline__ void read(std::int64_t row, std::int64_t column, T (&terms)[1]) const {
    terms[0] = ids[row] == id ? dy[row * width + column] : T{0};
  }
};

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
