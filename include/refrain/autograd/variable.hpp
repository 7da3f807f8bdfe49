#pragma once
/// Tensors with gradients.

#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "refrain/core/tensor.hpp"
#include "refrain/kernels/gather.hpp"
#include "refrain/kernels/pointwise.hpp"
#include "refrain/kernels/run.hpp"

namespace refrain {

/// A gradient that is zero except in some rows of the outermost axis, as of an embedding table.
struct RowSparse {
  Tensor rows;    ///< [n] i32, distinct and ascending; unused entries at the end are -1
  Tensor values;  ///< [n, ...] the values of these rows; zero where rows is -1
};

namespace detail {

template <class T>
using PooledVector = std::vector<T, PoolAllocator<T>>;

/// Throws ShapeError, DTypeError or DeviceError, with `of` as the place, unless the gradient has
/// the shape, dtype and device of `value`.
inline void check_gradient(std::string_view of, const Tensor& gradient, const Tensor& value) {
  if (gradient.shape() != value.shape())
    throw ShapeError(detail::concat("gradient of ", of, ": expected ", value.shape(), ", got ",
                                    gradient.shape()));
  if (gradient.dtype() != value.dtype())
    throw DTypeError(detail::concat("gradient of ", of, ": expected ", value.dtype(), ", got ",
                                    gradient.dtype()));
  if (gradient.device() != value.device()) {
    throw DeviceError(detail::concat("gradient of ", of, ": expected one on ", value.device(),
                                     ", got one on ", gradient.device()));
  }
}
/// check_gradient() for a row-sparse gradient.
inline void check_gradient(std::string_view of, const RowSparse& gradient, const Tensor& value) {
  if (value.rank() < 1 || gradient.rows.rank() != 1 ||
      gradient.values.shape() != value.shape().with(0, gradient.rows.size(0))) {
    throw ShapeError(detail::concat("gradient of ", of, ": expected rows of ", value.shape(),
                                    ", got ", gradient.rows.shape(), " numbers of rows and values ",
                                    gradient.values.shape()));
  }
  if (gradient.values.dtype() != value.dtype() || gradient.rows.dtype() != DType::i32) {
    throw DTypeError(detail::concat("gradient of ", of, ": expected values of ", value.dtype(),
                                    " at rows of i32, got ", gradient.values.dtype(), " and ",
                                    gradient.rows.dtype()));
  }
  if (gradient.values.device() != value.device() || gradient.rows.device() != value.device()) {
    throw DeviceError(detail::concat("gradient of ", of, ": expected rows on ", value.device(),
                                     ", got some on ", gradient.values.device()));
  }
}

}  // namespace detail

/// The gradient of one value: undefined, dense or row-sparse.
class Gradient {
 public:
  bool defined() const noexcept { return dense_.defined() || is_sparse(); }
  bool is_sparse() const noexcept { return sparse_.rows.defined(); }

  /// Throws AutogradError when the gradient is undefined or row-sparse.
  const Tensor& dense() const {
    if (is_sparse())
      throw AutogradError(
          "Gradient::dense: the gradient is row-sparse; read sparse() or densify it");
    if (!dense_.defined()) throw AutogradError("Gradient::dense: no gradient has been computed");
    return dense_;
  }

  /// Throws AutogradError when the gradient is undefined or dense.
  const RowSparse& sparse() const {
    if (!is_sparse()) throw AutogradError("Gradient::sparse: the gradient is not row-sparse");
    return sparse_;
  }

  /// The gradient as one dense tensor of `shape`. Throws AutogradError when it is undefined.
  Tensor to_dense(const Shape& shape) const {
    if (!is_sparse()) return dense();
    Tensor full = Tensor::zeros(shape, sparse_.values.dtype(), sparse_.values.device());
    add_rows_to(full, sparse_);
    return full;
  }

  /// Adds a dense contribution. The first one is stored without a copy.
  void add(Tensor contribution) {
    if (is_sparse()) {
      Tensor full = own(std::move(contribution));
      add_rows_to(full, sparse_);
      sparse_ = {};
      dense_ = std::move(full);
    } else if (!dense_.defined()) {
      dense_ = std::move(contribution);
    } else {
      dense_ = own(std::move(dense_));
      kernels::run(kernels::LinearCombination{.a = dense_, .b = contribution, .out = dense_});
    }
  }

  /// Adds a row-sparse contribution.
  void add(RowSparse contribution);

  /// The dense sum so far, initially zero, in storage that no other tensor shares, for a kernel
  /// that adds to it in place.
  Tensor& accumulator(const Shape& shape, DType dtype, Device device) {
    if (!defined()) {
      dense_ = Tensor::zeros(shape, dtype, device);
    } else {
      dense_ = own(is_sparse() ? to_dense(shape) : std::move(dense_));
      sparse_ = {};
    }
    return dense_;
  }

  /// Drops the gradient.
  void clear() {
    dense_ = {};
    sparse_ = {};
  }

 private:
  static Tensor own(Tensor tensor) { return tensor.unique() ? tensor : tensor.clone(); }

  static void add_rows_to(Tensor& full, const RowSparse& sparse) {
    kernels::run(kernels::AddRows{.rows = sparse.rows, .values = sparse.values, .to = full});
  }

  Tensor dense_;
  RowSparse sparse_;
};

/// The row-sparse gradient of gathered rows: dy[i] of dy [n,...] is added to row ids[i] (i32 [n]);
/// negative ids are skipped.
inline RowSparse coalesce(const Tensor& ids, const Tensor& dy) {
  RowSparse sum{Tensor(ids.shape(), DType::i32, dy.device()), empty_like(dy)};
  kernels::run(kernels::CoalesceRows{.ids = ids, .dy = dy, .rows = sum.rows, .values = sum.values});
  return sum;
}

namespace detail {

/// The rows of row-sparse gradients of one table, at least one, one after the other.
inline RowSparse joined(std::span<const RowSparse> parts) {
  // Unused entries at the end of each list are removed before the lists are joined. Off the CPU
  // counting them would wait for the device; there coalesce() skips them.
  const auto used = [](const RowSparse& sparse) {
    std::int64_t count = sparse.rows.numel();
    if (sparse.rows.device() != Device::cpu) return count;
    while (count > 0 && sparse.rows.data<std::int32_t>()[count - 1] < 0) --count;
    return count;
  };
  const RowSparse& like = parts.front();
  std::int64_t total = 0;
  for (const RowSparse& part : parts) total += used(part);
  Tensor ids({total}, DType::i32, like.rows.device());
  Tensor values = empty_like(like.values, like.values.shape().with(0, total));
  std::int64_t begin = 0;
  for (const RowSparse& part : parts) {
    const std::int64_t count = used(part);
    ids.slice(begin, begin + count).copy_from(part.rows.slice(0, count));
    values.slice(begin, begin + count).copy_from(part.values.slice(0, count));
    begin += count;
  }
  return {.rows = std::move(ids), .values = std::move(values)};
}

/// The sum of row-sparse gradients of one table, at least one: their rows, joined in order, are
/// coalesced once.
inline RowSparse merge(std::span<const RowSparse> parts) {
  const RowSparse all = joined(parts);
  return coalesce(all.rows, all.values);
}

}  // namespace detail

inline void Gradient::add(RowSparse contribution) {
  if (dense_.defined()) {
    dense_ = own(std::move(dense_));
    add_rows_to(dense_, contribution);
  } else if (!is_sparse()) {
    sparse_ = std::move(contribution);
  } else {
    const RowSparse parts[] = {std::move(sparse_), std::move(contribution)};
    sparse_ = detail::merge(parts);
  }
}

namespace detail {
class Node;
struct TapeAccess;

struct VariableState {
  Tensor value;
  bool requires_grad = false;
  std::shared_ptr<Node> producer;  ///< null for a leaf
  int output = 0;                  ///< index among the producer's results
  Gradient gradient;               ///< only for a leaf
};
}  // namespace detail

/// A tensor with a gradient. Copies share the value and the gradient.
///
/// A Variable constructed from a Tensor is a leaf; backward() adds to its gradient when it requires
/// one. The result of an operation keeps its history when an input requires a gradient and
/// recording is on (see NoGrad).
class Variable {
 public:
  Variable() = default;
  /// A leaf with the given value.
  explicit Variable(Tensor value, bool requires_grad = false)
      : state_(
            std::allocate_shared<detail::VariableState>(PoolAllocator<detail::VariableState>())) {
    state_->value = std::move(value);
    set_requires_grad(requires_grad);
  }

  bool defined() const noexcept { return state_ != nullptr; }
  const Tensor& value() const { return state().value; }
  Tensor& value() { return state().value; }
  /// A Variable converts to a kernel's input; an undefined Variable is an empty view.
  operator View() const {  // NOLINT(google-explicit-constructor)
    return state_ != nullptr ? state_->value.view() : View();
  }
  const Shape& shape() const { return value().shape(); }
  std::int64_t size(int axis) const { return value().size(axis); }
  DType dtype() const { return value().dtype(); }
  Device device() const { return value().device(); }
  double item() const { return value().item(); }

  bool requires_grad() const noexcept { return state_ != nullptr && state_->requires_grad; }
  /// True when this is not the result of a recorded operation.
  bool is_leaf() const noexcept { return state_ == nullptr || state_->producer == nullptr; }

  /// Freezes or unfreezes a leaf.  Freezing drops the gradient.
  /// Throws AutogradError for the result of an operation, DTypeError for integers.
  void set_requires_grad(bool on) {
    if (!is_leaf())
      throw AutogradError("set_requires_grad: expected a leaf, got the result of an operation");
    if (on && !is_floating(value().dtype())) {
      throw DTypeError(
          detail::concat("set_requires_grad: expected f32 or f64, got ", value().dtype()));
    }
    state().requires_grad = on;
    if (!on) state().gradient.clear();
  }

  const Gradient& gradient() const { return state().gradient; }
  Gradient& gradient() { return state().gradient; }
  /// Dense gradient of a leaf. Throws AutogradError when it is undefined or row-sparse.
  const Tensor& grad() const { return gradient().dense(); }
  void zero_grad() { state().gradient.clear(); }

  /// The same value without history.
  Variable detach() const { return Variable(value()); }

  /// True when both are handles on the same value.
  bool is(const Variable& other) const noexcept { return state_ == other.state_; }

 private:
  friend class detail::Node;
  friend struct detail::TapeAccess;

  detail::VariableState& state() const {
    if (state_ == nullptr)
      throw AutogradError("Variable: expected a defined one, got an undefined one");
    return *state_;
  }

  std::shared_ptr<detail::VariableState> state_;
};

}  // namespace refrain
