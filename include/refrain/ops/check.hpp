#pragma once
/// Argument checks shared by the operations.

#include "refrain/autograd/tape.hpp"

namespace refrain::detail {

inline void check_defined(const char* op, const char* argument, const Tensor& x) {
  if (!x.defined()) throw ShapeError(detail::concat(op, ": ", argument, " is undefined"));
}
inline void check_defined(const char* op, const char* argument, const Variable& x) {
  if (!x.defined() || !x.value().defined())
    throw ShapeError(detail::concat(op, ": ", argument, " is undefined"));
}

template <class X>  // Tensor or Variable, as below
void check_rank(const char* op, const char* argument, const X& x, int rank) {
  check_defined(op, argument, x);
  if (x.shape().rank() != rank) {
    throw ShapeError(
        detail::concat(op, ": expected ", argument, " of rank ", rank, ", got ", x.shape()));
  }
}

/// Throws ShapeError unless x is defined and has a last axis.
template <class X>
void check_has_rows(const char* op, const char* argument, const X& x) {
  check_defined(op, argument, x);
  if (x.shape().rank() < 1)
    throw ShapeError(
        detail::concat(op, ": expected ", argument, " of rank 1 or more, got a scalar"));
}

template <class X>
void check_shape(const char* op, const char* argument, const X& x, const Shape& shape) {
  check_defined(op, argument, x);
  if (x.shape() != shape)
    throw ShapeError(
        detail::concat(op, ": expected ", argument, " of ", shape, ", got ", x.shape()));
}

/// check_shape() for an optional argument.
template <class X>
void check_optional(const char* op, const char* argument, const X& x, const Shape& shape) {
  if (x.defined()) check_shape(op, argument, x, shape);
}

/// Throws unless x is undefined or has the dtype and device of `like`.
template <class X>
void check_kind(const char* op, const Variable& like, const X& x) {
  if (!x.defined()) return;
  if (x.dtype() != like.dtype()) {
    throw DTypeError(detail::concat(op, ": expected all arguments of ", like.dtype(),
                                    ", got one of ", x.dtype(), ": ", x.shape()));
  }
  if (x.device() != like.device()) {
    throw DeviceError(detail::concat(op, ": expected all arguments on ", like.device(),
                                     ", got one on ", x.device(), ": ", x.shape()));
  }
}

/// Throws unless `like` has a floating dtype and all defined `others` have its dtype and device.
template <class... Others>
void check_like(const char* op, const Variable& like, const Others&... others) {
  if (!is_floating(like.dtype()))
    throw DTypeError(detail::concat(op, ": expected f32 or f64, got ", like.dtype()));
  (check_kind(op, like, others), ...);
}

/// Throws unless both are defined and have the same shape, dtype and device.
inline void check_pair(const char* op, const Variable& a, const Variable& b) {
  check_defined(op, "a", a);
  check_shape(op, "b", b, a.shape());
  check_like(op, a, b);
}

/// Throws unless ids are i32 on `device`, each in [0, bound). Off the CPU the caller guarantees the
/// values: reading them would wait for the device.
inline void check_ids(const char* op, const char* argument, const Tensor& ids, std::int64_t bound,
                      Device device) {
  check_defined(op, argument, ids);
  if (ids.dtype() != DType::i32)
    throw DTypeError(detail::concat(op, ": expected ", argument, " of i32, got ", ids.dtype()));
  if (ids.device() != device) {
    throw DeviceError(detail::concat(op, ": expected ", argument, " on ", device,
                                     " like the other arguments, got some on ", ids.device(),
                                     "; copy them with to(Device::", device, ")"));
  }
  if (device != Device::cpu) return;
  const std::int32_t* values = ids.data<std::int32_t>();
  for (std::int64_t i = 0; i < ids.numel(); ++i) {
    if (values[i] < 0 || values[i] >= bound) {
      throw ShapeError(detail::concat(op, ": ", argument, "[", i, "] = ", values[i],
                                      " is outside [0, ", bound, ")"));
    }
  }
}

/// Throws unless there is one id for each row of x: ids have x's shape without the last axis, or
/// either of the two is flattened to one axis. The number of ids alone is no sufficient check: ids
/// [B,T] would pass for x [T,B,C].
inline void check_id_per_row(const char* op, const char* argument, const Tensor& ids,
                             const char* rows, const Variable& x) {
  const std::span<const std::int64_t> extents = x.shape().extents();
  const Shape outer(extents.first(extents.size() - 1));
  const bool is_flat = ids.rank() == 1 || outer.rank() == 1;
  if (is_flat ? ids.numel() == outer.numel() : ids.shape() == outer) return;
  throw ShapeError(detail::concat(op, ": expected ", argument, " of ", outer, " for ", rows, " ",
                                  x.shape(), ", got ", ids.shape()));
}

/// Checks the distance of taps in time steps. The limit keeps taps times dilation within 64 bits.
inline void check_dilation(const char* op, std::int64_t dilation) {
  constexpr std::int64_t max_dilation = 0x7FFF'FFFF;
  if (dilation < 1 || dilation > max_dilation)
    throw OptionError(
        detail::concat(op, ": expected dilation from 1 to ", max_dilation, ", got ", dilation));
}

/// Checks the number added to a variance before its square root.
inline void check_epsilon(const char* op, double epsilon) {
  if (!(epsilon >= 0))
    throw OptionError(detail::concat(op, ": expected epsilon >= 0, got ", epsilon));
}

}  // namespace refrain::detail
