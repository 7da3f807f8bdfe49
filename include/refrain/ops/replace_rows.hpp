#pragma once
/// A trainable row for one id. Dtypes f32, f64; ids i32.

#include <limits>

#include "refrain/kernels/replace_rows.hpp"
#include "refrain/ops/check.hpp"

namespace refrain {

/// y[...,:] = row where ids[...] == id, else x[...,:].
///
/// x [...,C], ids i32 [...], row [1,C] or [C] -> [...,C]. It gives one id a trainable vector while
/// the table that x was gathered from is frozen. Throws ShapeError, DTypeError, DeviceError.
inline Variable replace_rows(const Variable& x, const Tensor& ids, std::int64_t id,
                             const Variable& row) {
  constexpr const char* op = "replace_rows";
  detail::check_has_rows(op, "x", x);
  detail::check_defined(op, "row", row);
  if (row.value().numel() != x.size(-1)) {
    throw ShapeError(detail::concat("replace_rows: expected a row of ", x.size(-1),
                                    " elements, got ", row.shape()));
  }
  detail::check_like(op, x, row);
  detail::check_id_per_row(op, "ids", ids, "x", x);
  detail::check_ids(op, "ids", ids, std::numeric_limits<std::int32_t>::max(), x.device());
  Tensor y = empty_like(x.value());
  kernels::run(kernels::ReplaceRows{.x = x, .ids = ids, .row = row, .y = y, .id = id});
  return record(op, std::move(y), {x, row}, [ids, id](const Tensor& dy, auto& dx, auto& drow) {
    kernels::run(
        kernels::ReplaceRowsBackward{.ids = ids, .dy = dy, .dx = dx, .drow = drow, .id = id});
  });
}

}  // namespace refrain
