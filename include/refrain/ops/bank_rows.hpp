#pragma once
/// Rows of banks: tables [K,...] of which each sequence of a batch uses one row. Row 0 is constant.

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "refrain/ops/check.hpp"

namespace refrain {

namespace detail {

/// The rows of a bank that a batch uses, without 0: i32 [G], ascending.
inline Tensor used_rows(const Tensor& bank_rows) {
  std::vector<std::int32_t> used;
  for (const std::int32_t row : bank_rows.span<std::int32_t>()) {
    if (row > 0 && (used.empty() || used.back() != row)) used.push_back(row);
  }
  return Tensor::from<std::int32_t>({static_cast<std::int64_t>(used.size())}, used);
}

}  // namespace detail

/// i32 indices on the CPU, where operations check them, with a copy on the device whose kernels
/// read them: the rows of a bank that the sequences of a batch use, or the widths of its patches.
/// Made once for a batch, they are not copied again by each operation.
class BankIndices {
 public:
  BankIndices() = default;
  /// For operations on `device`. Throws DTypeError unless `host` is i32, for a device other than
  /// the CPU.
  BankIndices(Tensor host, Device device = Device::cpu)  // NOLINT(google-explicit-constructor)
      : all_(std::make_shared<const Copies>(std::move(host), device)) {}

  bool defined() const noexcept { return all_ != nullptr && all_->host.defined(); }
  /// Undefined when the indices are.
  Tensor host() const { return all_ == nullptr ? Tensor() : all_->host; }
  /// The indices on a device; undefined without a copy there.
  Tensor on(Device device) const {
    if (device == Device::cpu || all_ == nullptr) return host();
    return all_->device == device ? all_->copy : Tensor();
  }
  /// As the rows of a bank: those in use without 0, i32 [G], ascending, on the same device.
  Tensor used() const {
    if (all_ == nullptr) return {};
    return all_->device == Device::cpu ? detail::used_rows(all_->host) : all_->used;
  }

 private:
  struct Copies {
    Copies(Tensor indices, Device where) : host(std::move(indices)), device(where) {
      if (device == Device::cpu) return;
      copy = host.to(device);
      used = detail::used_rows(host).to(device);
    }
    Tensor host;
    Device device;
    Tensor copy{};  ///< on a device other than the CPU
    Tensor used{};  ///< likewise
  };

  std::shared_ptr<const Copies> all_;
};

namespace detail {

/// Throws DTypeError, ShapeError or DeviceError unless indices are i32 [size] on the CPU and on
/// `device`.
inline void check_bank_indices(const char* op, const char* name, const BankIndices& indices,
                               std::int64_t size, Device device) {
  const Tensor host = indices.host();
  if (host.dtype() != DType::i32)
    throw DTypeError(detail::concat(op, ": expected ", name, " of i32, got ", host.dtype()));
  if (host.shape() != Shape({size}) || host.device() != Device::cpu) {
    throw ShapeError(
        detail::concat(op, ": expected ", name, " [", size, "] on the CPU, got ", host.shape()));
  }
  if (!indices.on(device).defined()) {
    throw DeviceError(detail::concat(op, ": expected ", name, " with a copy on ", device,
                                     ", as BankIndices makes it, got none"));
  }
}

/// Throws ShapeError, DTypeError or DeviceError unless `rows` are rows of a bank of `count` rows
/// for a batch x [B,...].
inline void check_bank_rows(const char* op, const char* name, const BankIndices& rows,
                            std::int64_t count, const Variable& x) {
  check_bank_indices(op, name, rows, x.size(0), x.device());
  const Tensor host = rows.host();
  std::int32_t before = 0;
  for (const std::int32_t row : host.span<std::int32_t>()) {
    if (row < before || row >= count) {
      throw ShapeError(detail::concat(op, ": expected ascending ", name, " from 0 to ", count - 1,
                                      ", got ", row, " after ", before));
    }
    before = row;
  }
}

/// The gradient of a parameter, or of the rows of a bank that a batch uses, as the output of a
/// kernel.
class BankGradient {
 public:
  /// `rows`: BankIndices::used(); undefined: the parameter is no bank.
  BankGradient(InputGradient& gradient, const Tensor& rows, DType dtype)
      : gradient_(gradient), rows_(rows) {
    if (rows.defined() && gradient.needed())
      values_ = Tensor(gradient.shape().with(0, rows.numel()), dtype, rows.device());
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

}  // namespace detail
}  // namespace refrain
