#pragma once
/// The sequences of a batch that use the same row of a bank, on the CPU.

#include <cstdint>

#include "refrain/core/view.hpp"

namespace refrain::kernels::cpu {

/// Consecutive sequences with the same row of a bank.
struct BankSegment {
  std::int64_t begin = 0;      ///< first sequence
  std::int64_t end = 0;        ///< sequence past the last one
  std::int64_t row = 0;        ///< of the bank
  std::int64_t gradient = -1;  ///< row of the gradients of the bank; -1: none, for row 0
};

/// Calls function(segment) for each segment of a batch, in order. `bank_rows`: i32 [sequences].
template <class Function>
void for_bank_segments(const View& bank_rows, Function&& function) {
  const std::int32_t* const rows = bank_rows.as<std::int32_t>();
  const std::int64_t sequences = bank_rows.shape.numel();
  std::int64_t gradients = 0;
  for (std::int64_t begin = 0; begin < sequences;) {
    std::int64_t end = begin + 1;
    while (end < sequences && rows[end] == rows[begin]) ++end;
    function(BankSegment{begin, end, rows[begin], rows[begin] > 0 ? gradients++ : -1});
    begin = end;
  }
}

}  // namespace refrain::kernels::cpu
