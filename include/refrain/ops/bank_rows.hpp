#pragma once
/// Rows of banks: tables [K,...] of which each sequence of a batch uses one row. Row 0 is constant.

#include <cstdint>
#include <utility>
#include <vector>

#include "refrain/ops/check.hpp"

namespace refrain::detail {

/// Throws DTypeError or ShapeError unless a tensor is i32 [size] on the CPU.
inline void check_bank_tensor(const char* op, const char* name, const Tensor& tensor,
                              std::int64_t size) {
  if (tensor.dtype() != DType::i32)
    throw DTypeError(detail::concat(op, ": expected ", name, " of i32, got ", tensor.dtype()));
  if (tensor.shape() != Shape({size}) || tensor.device() != Device::cpu) {
    throw ShapeError(
        detail::concat(op, ": expected ", name, " [", size, "] on the CPU, got ", tensor.shape()));
  }
}

/// Throws Unsupported, ShapeError or DTypeError unless `rows` are rows of a bank of `count` rows
/// for a batch x [B,...].
inline void check_bank_rows(const char* op, const char* name, const Tensor& rows,
                            std::int64_t count, const Variable& x) {
  if (x.device() != Device::cpu)
    throw Unsupported(detail::concat(op, ": expected a bank on the CPU, got one on ", x.device()));
  check_bank_tensor(op, name, rows, x.size(0));
  std::int32_t before = 0;
  for (const std::int32_t row : rows.span<std::int32_t>()) {
    if (row < before || row >= count) {
      throw ShapeError(detail::concat(op, ": expected ascending ", name, " from 0 to ", count - 1,
                                      ", got ", row, " after ", before));
    }
    before = row;
  }
}

/// The rows of a bank that a batch uses, without 0: i32 [G], ascending.
inline Tensor used_rows(const Tensor& bank_rows) {
  std::vector<std::int32_t> used;
  for (const std::int32_t row : bank_rows.span<std::int32_t>()) {
    if (row > 0 && (used.empty() || used.back() != row)) used.push_back(row);
  }
  return Tensor::from<std::int32_t>({static_cast<std::int64_t>(used.size())}, used);
}

/// The gradient of a parameter, or of the rows of a bank that a batch uses, as the output of a
/// kernel.
class BankGradient {
 public:
  /// `rows`: used_rows(); undefined: the parameter is no bank.
  BankGradient(InputGradient& gradient, const Tensor& rows, DType dtype)
      : gradient_(gradient), rows_(rows) {
    if (rows.defined() && gradient.needed())
      values_ = Tensor(gradient.shape().with(0, rows.numel()), dtype);
  }
  BankGradient(const BankGradient&) = delete;
  BankGradient& operator=(const BankGradient&) = delete;

  operator MutableView() {  // NOLINT(google-explicit-constructor): as an InputGradient
    if (!rows_.defined()) return gradient_;
    return values_.defined() ? MutableView(values_) : MutableView();
  }

  /// Adds the rows that the kernel has written.
  void finish() {
    if (values_.defined()) gradient_.add(RowSparse{.rows = rows_, .values = std::move(values_)});
  }

 private:
  InputGradient& gradient_;
  Tensor rows_;
  Tensor values_;
};

}  // namespace refrain::detail
