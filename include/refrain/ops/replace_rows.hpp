#pragma once
/// A trainable row for one id, or one of each task. Dtypes f32, f64; ids i32.

#include <limits>

#include "refrain/kernels/replace_rows.hpp"
#include "refrain/ops/bank_rows.hpp"
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

/// y[b,...,:] = bank[rows[b],:] where ids[b,...] == id, else x[b,...,:].
///
/// x [B,...,C], ids i32 [B,...], bank [K,C], rows [B], ascending -> [B,...,C]. The gradient of the
/// bank is row-sparse, without row 0. Throws ShapeError, DTypeError, DeviceError.
inline Variable replace_rows(const Variable& x, const Tensor& ids, std::int64_t id,
                             const Variable& bank, const BankIndices& rows) {
  constexpr const char* op = "replace_rows";
  detail::check_has_rows(op, "x", x);
  detail::check_rank(op, "bank", bank, 2);
  detail::check_shape(op, "bank", bank, {bank.size(0), x.size(-1)});
  detail::check_like(op, x, bank);
  detail::check_id_per_row(op, "ids", ids, "x", x);
  detail::check_ids(op, "ids", ids, std::numeric_limits<std::int32_t>::max(), x.device());
  detail::check_bank_rows(op, "rows", rows, bank.size(0), x);
  Tensor y = empty_like(x.value());
  kernels::run(kernels::ReplaceRows{
      .x = x, .ids = ids, .row = bank, .bank_rows = rows.on(x.device()), .y = y, .id = id});
  return record(op, std::move(y), {x, bank},
                [ids, id, rows](const Tensor& dy, auto& dx, auto& dbank) {
                  detail::BankGradient drow(dbank, rows.used(), dy.dtype());
                  kernels::run(kernels::ReplaceRowsBackward{.ids = ids,
                                                            .bank_rows = rows.on(dy.device()),
                                                            .dy = dy,
                                                            .dx = dx,
                                                            .drow = drow,
                                                            .id = id});
                  drow.finish();
                });
}

}  // namespace refrain
