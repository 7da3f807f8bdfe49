#pragma once
/// Parameters of one kind of many tasks, as the rows of one table.

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "refrain/nn/initialize.hpp"

namespace refrain {

/// A table [K,...] whose row k is a parameter of task k, for operations on batches of many tasks.
///
/// Row 0 belongs to no task. A parameter that is bound to a row keeps its shape and its handles,
/// but its elements are the first ones of the row from then on: an operation that reads the table
/// sees what an optimizer of the parameter writes, and the table has no state of its own. A
/// parameter may be smaller than a row; the other elements of the row are zero.
class ParameterBank {
 public:
  ParameterBank() = default;

  /// `row`: shape of a row. The elements are zero. Throws OptionError unless count >= 1.
  ParameterBank(std::int64_t count, const Shape& row, Placement placement = {}) {
    if (count < 1)
      throw OptionError(detail::concat("ParameterBank: expected count >= 1, got ", count));
    std::vector<std::int64_t> extents{count};
    for (int axis = 0; axis < row.rank(); ++axis) extents.push_back(row[axis]);
    table_ = Parameter(Tensor::zeros(Shape(extents), placement.dtype, placement.device));
    bound_.resize(static_cast<std::size_t>(count));
  }

  ParameterBank(ParameterBank&&) = default;
  ParameterBank& operator=(ParameterBank&&) = default;
  ParameterBank(const ParameterBank&) = delete;  // copies would share the bound parameters
  ParameterBank& operator=(const ParameterBank&) = delete;

  bool defined() const noexcept { return table_.defined(); }
  /// The table; an operation on it is recorded while a bound parameter is not frozen.
  const Parameter& table() const noexcept { return table_; }
  std::int64_t count() const { return table_.size(0); }

  /// The first elements of a row, which share its storage, in the given shape. Throws ShapeError
  /// when they do not fit, OptionError for a row outside the table.
  Tensor row(std::int64_t row, const Shape& shape) const {
    expect_row(row);
    const std::int64_t size = table_.value().numel() / count();
    if (shape.numel() > size) {
      throw ShapeError(detail::concat("ParameterBank: expected at most ", size,
                                      " elements in a row, got ", shape));
    }
    return table_.value()
        .slice(row, row + 1)
        .reshape({size})
        .slice(0, shape.numel())
        .reshape(shape);
  }

  /// Copies the elements of a parameter to a row, which it has from then on. A parameter that was
  /// bound to the row before keeps its elements in memory of its own. Throws ShapeError, DTypeError
  /// or DeviceError when the parameter does not fit.
  void bind(std::int64_t row, Parameter& parameter) {
    Tensor elements = this->row(row, parameter.shape());
    if (parameter.dtype() != table_.dtype()) {
      throw DTypeError(detail::concat("ParameterBank: expected a parameter of ", table_.dtype(),
                                      ", got ", parameter.dtype()));
    }
    if (parameter.device() != table_.device()) {
      throw DeviceError(detail::concat("ParameterBank: expected a parameter on ", table_.device(),
                                       ", got one on ", parameter.device()));
    }
    release(row);
    elements.copy_from(parameter.value());
    parameter.value() = std::move(elements);
    bound_[static_cast<std::size_t>(row)] = parameter;
  }

  /// Gives the parameter of a row memory of its own, and sets the row to zero.
  void release(std::int64_t row) {
    expect_row(row);
    Variable& bound = bound_[static_cast<std::size_t>(row)];
    if (!bound.defined()) return;
    bound.value() = bound.value().clone();
    bound = {};
    this->row(row, {table_.value().numel() / count()}).zero();
  }

  /// Moves the gradient of the table, which a backward pass has computed, to the bound parameters.
  /// The gradient of a row becomes that of its parameter, in the same memory; a frozen parameter
  /// and a row without a parameter drop theirs. Waits for a GPU.
  void pass_gradients() {
    if (!table_.gradient().defined()) return;
    const RowSparse sparse = table_.gradient().sparse();
    table_.gradient().clear();
    const std::int64_t size = table_.value().numel() / count();
    const Tensor host = sparse.rows.to(Device::cpu);
    const std::span<const std::int32_t> rows = host.span<std::int32_t>();
    for (std::size_t i = 0; i < rows.size(); ++i) {
      Variable& bound = bound_[static_cast<std::size_t>(rows[i])];
      if (!bound.defined() || !bound.requires_grad()) continue;
      const std::int64_t at = static_cast<std::int64_t>(i);
      bound.gradient().add(sparse.values.slice(at, at + 1)
                               .reshape({size})
                               .slice(0, bound.value().numel())
                               .reshape(bound.shape()));
    }
  }

 private:
  void expect_row(std::int64_t row) const {
    if (row < 0 || row >= count()) {
      throw OptionError(
          detail::concat("ParameterBank: expected a row from 0 to ", count() - 1, ", got ", row));
    }
  }

  Parameter table_;
  std::vector<Variable> bound_;  ///< by row; undefined: none
};

}  // namespace refrain
