#pragma once
/// Values on the tape.

#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "refrain/core/tensor.hpp"
#include "refrain/kernels/table.hpp"

namespace refrain {

template <class T>
using PooledVector = std::vector<T, PoolAllocator<T>>;

/// A gradient that is zero but for some rows of the outermost axis: what an embedding table
/// receives.
struct RowSparse {
  Tensor rows;    ///< [n] i32, distinct and rising; unused entries at the end are -1
  Tensor values;  ///< [n, ...] the rows themselves; zero where rows is -1
};

/// Throws ShapeError, DTypeError or DeviceError, which name `of`, unless the gradient is one of
/// `value`: of its shape, type and device.
inline void check_gradient(std::string_view of, const Tensor& gradient, const Tensor& value) {
  if (gradient.shape() != value.shape())
    throw ShapeError(
        concat("gradient of ", of, ": expected ", value.shape(), ", got ", gradient.shape()));
  if (gradient.dtype() != value.dtype())
    throw DTypeError(
        concat("gradient of ", of, ": expected ", value.dtype(), ", got ", gradient.dtype()));
  if (gradient.device() != value.device()) {
    throw DeviceError(concat("gradient of ", of, ": expected one on ", value.device(),
                             ", got one on ", gradient.device()));
  }
}
/// The same for rows of it.
inline void check_gradient(std::string_view of, const RowSparse& gradient, const Tensor& value) {
  if (value.rank() < 1 || gradient.rows.rank() != 1 ||
      gradient.values.shape() != value.shape().with(0, gradient.rows.size(0))) {
    throw ShapeError(concat("gradient of ", of, ": expected rows of ", value.shape(), ", got ",
                            gradient.rows.shape(), " numbers of rows and values ",
                            gradient.values.shape()));
  }
  if (gradient.values.dtype() != value.dtype() || gradient.rows.dtype() != DType::i32) {
    throw DTypeError(concat("gradient of ", of, ": expected values of ", value.dtype(),
                            " at rows of i32, got ", gradient.values.dtype(), " and ",
                            gradient.rows.dtype()));
  }
  if (gradient.values.device() != value.device() || gradient.rows.device() != value.device()) {
    throw DeviceError(concat("gradient of ", of, ": expected rows on ", value.device(),
                             ", got some on ", gradient.values.device()));
  }
}

/// The gradient of one value: none, dense, or row-sparse.
class Gradient {
 public:
  bool defined() const noexcept { return dense_.defined() || is_sparse(); }
  bool is_sparse() const noexcept { return sparse_.rows.defined(); }

  /// Throws AutogradError when there is none or it is row-sparse.
  const Tensor& dense() const {
    if (is_sparse())
      throw AutogradError(
          "Gradient::dense: the gradient is row-sparse; read sparse() or densify it");
    if (!dense_.defined()) throw AutogradError("Gradient::dense: no gradient has been computed");
    return dense_;
  }

  /// Throws AutogradError when there is none or it is dense.
  const RowSparse& sparse() const {
    if (!is_sparse()) throw AutogradError("Gradient::sparse: the gradient is not row-sparse");
    return sparse_;
  }

  /// The gradient as one full tensor, whatever its form.
  Tensor to_dense(const Shape& shape) const {
    if (!is_sparse()) return dense();
    Tensor full = Tensor::zeros(shape, sparse_.values.dtype(), sparse_.values.device());
    add_rows_to(full, sparse_);
    return full;
  }

  /// Adds a dense contribution; the first is taken over without a copy.
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
      kernels::table(dense_.device())
          .linear_combination(
              {.a = dense_.view(), .b = contribution.view(), .out = dense_.mutable_view()});
    }
  }

  /// Adds a row-sparse contribution.
  void add(RowSparse contribution) {
    if (dense_.defined()) {
      dense_ = own(std::move(dense_));
      add_rows_to(dense_, contribution);
    } else if (!is_sparse()) {
      sparse_ = std::move(contribution);
    } else {
      sparse_ = merge(sparse_, contribution);
    }
  }

  /// The dense sum so far (zero when there is none), owned by this gradient alone, for a kernel
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

  void clear() {
    dense_ = {};
    sparse_ = {};
  }

 private:
  static Tensor own(Tensor tensor) { return tensor.unique() ? tensor : tensor.clone(); }

  static void add_rows_to(Tensor& full, const RowSparse& sparse) {
    kernels::table(full.device())
        .add_rows({.rows = sparse.rows.view(),
                   .values = sparse.values.view(),
                   .to = full.mutable_view()});
  }

  static RowSparse merge(const RowSparse& a, const RowSparse& b);

  Tensor dense_;
  RowSparse sparse_;
};

/// Builds the row-sparse gradient of gathered rows: dy [n, ...] belongs to row ids[i] (i32 [n]);
/// negative ids are left out.
inline RowSparse coalesce(const Tensor& ids, const Tensor& dy) {
  RowSparse out{Tensor(ids.shape(), DType::i32, dy.device()),
                Tensor(dy.shape(), dy.dtype(), dy.device())};
  kernels::table(dy.device())
      .coalesce_rows({.ids = ids.view(),
                      .dy = dy.view(),
                      .rows = out.rows.mutable_view(),
                      .values = out.values.mutable_view()});
  return out;
}

inline RowSparse Gradient::merge(const RowSparse& a, const RowSparse& b) {
  // Unused entries sit at the end of both; they are left out before the lists are joined. On
  // another device counting them would have to wait for it: there coalesce() leaves them out.
  const auto used = [](const RowSparse& sparse) {
    std::int64_t count = sparse.rows.numel();
    if (sparse.rows.device() != Device::cpu) return count;
    while (count > 0 && sparse.rows.data<std::int32_t>()[count - 1] < 0) --count;
    return count;
  };
  const std::int64_t count_a = used(a);
  const std::int64_t count_b = used(b);
  Tensor ids({count_a + count_b}, DType::i32, a.rows.device());
  Tensor values(a.values.shape().with(0, count_a + count_b), a.values.dtype(), a.values.device());
  ids.slice(0, count_a).copy_from(a.rows.slice(0, count_a));
  ids.slice(count_a, count_a + count_b).copy_from(b.rows.slice(0, count_b));
  values.slice(0, count_a).copy_from(a.values.slice(0, count_a));
  values.slice(count_a, count_a + count_b).copy_from(b.values.slice(0, count_b));
  return coalesce(ids, values);
}

namespace detail {
class Node;

struct VariableState {
  Tensor value;
  bool requires_grad = false;
  std::shared_ptr<Node> producer;  ///< null for a leaf
  int output = 0;                  ///< which of the producer's outputs this is
  Gradient gradient;               ///< leaves alone
};
}  // namespace detail

/// A tensor that the tape can differentiate through. Copies are handles on the same value and
/// gradient.
///
/// A leaf (made from a Tensor) with requires_grad keeps the gradient that backward() adds to it.
/// Results of operations know how they were made while recording is on (see NoGrad) and any of
/// their inputs requires a gradient.
class Variable {
 public:
  Variable() = default;
  explicit Variable(Tensor value, bool requires_grad = false)
      : state_(
            std::allocate_shared<detail::VariableState>(PoolAllocator<detail::VariableState>())) {
    state_->value = std::move(value);
    set_requires_grad(requires_grad);
  }

  bool defined() const noexcept { return state_ != nullptr; }
  const Tensor& value() const { return state().value; }
  Tensor& value() { return state().value; }
  const Shape& shape() const { return value().shape(); }
  std::int64_t size(int axis) const { return value().size(axis); }
  DType dtype() const { return value().dtype(); }
  Device device() const { return value().device(); }
  double item() const { return value().item(); }

  bool requires_grad() const noexcept { return state_ != nullptr && state_->requires_grad; }
  bool is_leaf() const noexcept { return state_ == nullptr || state_->producer == nullptr; }

  /// For leaves.  Turning it off drops the gradient.
  /// Throws AutogradError on the result of an operation, DTypeError on integers.
  void set_requires_grad(bool on) {
    if (!is_leaf())
      throw AutogradError(
          "set_requires_grad: only a leaf can be changed, this is the result of an operation");
    if (on && !is_floating(value().dtype())) {
      throw DTypeError(concat("set_requires_grad: expected f32 or f64, got ", value().dtype()));
    }
    state().requires_grad = on;
    if (!on) state().gradient.clear();
  }

  const Gradient& gradient() const { return state().gradient; }
  Gradient& gradient() { return state().gradient; }
  /// Dense gradient of a leaf.  Throws AutogradError when there is none or it is row-sparse.
  const Tensor& grad() const { return gradient().dense(); }
  void zero_grad() { state().gradient.clear(); }

  /// The same value without its history.
  Variable detach() const { return Variable(value()); }

  /// True when both are handles on one value.
  bool is(const Variable& other) const noexcept { return state_ == other.state_; }

 private:
  friend class detail::Node;
  friend struct TapeAccess;

  detail::VariableState& state() const {
    if (state_ == nullptr) throw AutogradError("the Variable is undefined");
    return *state_;
  }

  std::shared_ptr<detail::VariableState> state_;
};

}  // namespace refrain
