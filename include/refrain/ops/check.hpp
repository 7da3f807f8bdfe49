#pragma once
/// Argument checks that the operations share.

#include "refrain/autograd/tape.hpp"

namespace refrain::ops {

inline void check_defined(const char* op, const char* argument, const Variable& x) {
  if (!x.defined() || !x.value().defined())
    throw ShapeError(concat(op, ": ", argument, " is undefined"));
}

inline void check_rank(const char* op, const char* argument, const Variable& x, int rank) {
  check_defined(op, argument, x);
  if (x.shape().rank() != rank) {
    throw ShapeError(concat(op, ": expected ", argument, " of rank ", rank, ", got ", x.shape()));
  }
}

inline void check_shape(const char* op, const char* argument, const Variable& x,
                        const Shape& shape) {
  check_defined(op, argument, x);
  if (x.shape() != shape)
    throw ShapeError(concat(op, ": expected ", argument, " of ", shape, ", got ", x.shape()));
}

/// As check_shape, for an argument that may be undefined.
inline void check_optional(const char* op, const char* argument, const Variable& x,
                           const Shape& shape) {
  if (x.defined()) check_shape(op, argument, x, shape);
}

/// Same element type and device as `like`; undefined arguments pass.
inline void check_like(const char* op, const Variable& like,
                       std::initializer_list<const Variable*> others) {
  if (!is_floating(like.dtype()))
    throw DTypeError(concat(op, ": expected f32 or f64, got ", like.dtype()));
  for (const Variable* other : others) {
    if (!other->defined()) continue;
    if (other->dtype() != like.dtype()) {
      throw DTypeError(concat(op, ": expected all arguments of ", like.dtype(), ", got one of ",
                              other->dtype(), ": ", other->shape()));
    }
    if (other->device() != like.device()) {
      throw DeviceError(concat(op, ": expected all arguments on ", like.device(), ", got one on ",
                               other->device(), ": ", other->shape()));
    }
  }
}

/// i32 ids on `device`, each in [0, bound). Off the CPU their values are the caller's promise:
/// looking at them would wait.
inline void check_ids(const char* op, const char* argument, const Tensor& ids, std::int64_t bound,
                      Device device) {
  if (!ids.defined()) throw ShapeError(concat(op, ": ", argument, " is undefined"));
  if (ids.dtype() != DType::i32)
    throw DTypeError(concat(op, ": expected ", argument, " of i32, got ", ids.dtype()));
  if (ids.device() != device) {
    throw DeviceError(concat(op, ": ", argument, " live on ", ids.device(),
                             ", the other arguments on ", device,
                             "; copy them with to(Device::", device, ")"));
  }
  if (device != Device::cpu) return;
  const std::int32_t* values = ids.data<std::int32_t>();
  for (std::int64_t i = 0; i < ids.numel(); ++i) {
    if (values[i] < 0 || values[i] >= bound) {
      throw ShapeError(
          concat(op, ": ", argument, "[", i, "] = ", values[i], " is outside [0, ", bound, ")"));
    }
  }
}

/// One id for each row of x: ids of x's shape without the last axis, or one of the two laid flat.
/// Equal numbers alone are not enough: ids [B,T] would pass for x [T,B,C].
inline void check_id_per_row(const char* op, const char* argument, const Tensor& ids,
                             const char* rows, const Variable& x) {
  const std::span<const std::int64_t> extents = x.shape().extents();
  const Shape outer(extents.first(extents.size() - 1));
  const bool is_flat = ids.rank() == 1 || outer.rank() == 1;
  if (is_flat ? ids.numel() == outer.numel() : ids.shape() == outer) return;
  throw ShapeError(concat(op, ": expected ", argument, " of ", outer, " for ", rows, " ", x.shape(),
                          ", got ", ids.shape()));
}

/// Steps between taps: as many as an id counts at the most, so that taps times dilation fit 64
/// bits.
inline void check_dilation(const char* op, std::int64_t dilation) {
  constexpr std::int64_t most = 0x7FFF'FFFF;
  if (dilation < 1 || dilation > most)
    throw OptionError(concat(op, ": expected dilation from 1 to ", most, ", got ", dilation));
}

inline View view_of(const Tensor& x) { return x.defined() ? x.view() : View(); }
inline View view_of(const Variable& x) { return x.defined() ? x.value().view() : View(); }

/// An uninitialized tensor like x when `wanted`, else an undefined one.
inline Tensor empty_like(const Variable& x, bool wanted = true) {
  return wanted ? Tensor(x.shape(), x.dtype(), x.device()) : Tensor();
}

inline MutableView mutable_view_of(Tensor& tensor) {
  return tensor.defined() ? tensor.mutable_view() : MutableView();
}

}  // namespace refrain::ops
