#pragma once
/// Checks of the baselines that count items, and access to their histories.

#include <cstdint>
#include <span>

#include "refrain/core/tensor.hpp"
#include "refrain/data/ragged_ids.hpp"

namespace refrain::detail {

/// Throws OptionError unless 0 <= first < size and every id is in [0, size).
inline void expect_counted_ids(const char* model, std::span<const std::int32_t> ids,
                               std::int64_t first, std::int64_t size) {
  if (first < 0 || first >= size)
    throw OptionError(
        concat(model, ": expected 0 <= first item < ids, got ", first, " and ", size));
  for (const std::int32_t id : ids) {
    if (id < 0 || id >= size)
      throw OptionError(concat(model, ": expected ids in [0, ", size, "), got ", id));
  }
}

/// expect_counted_ids() for the ids of all rows.
inline void expect_counted_ids(const char* model, const RaggedIds& rows, std::int64_t first,
                               std::int64_t size) {
  expect_counted_ids(model, std::span<const std::int32_t>(), first, size);
  for (std::int64_t row = 0; row < rows.rows(); ++row)
    expect_counted_ids(model, rows[row], first, size);
}

/// Throws unless the histories are i32 [B,T] of ids in [0, size) on the CPU.
inline void expect_histories(const char* model, const Tensor& ids, std::int64_t size) {
  if (ids.rank() != 2) throw ShapeError(concat(model, ": expected ids [B,T], got ", ids.shape()));
  if (ids.dtype() != DType::i32)
    throw DTypeError(concat(model, ": expected ids of i32, got ", ids.dtype()));
  expect_counted_ids(model, ids.span<std::int32_t>(), 0, size);
}

/// One row of i32 [B,T].
inline std::span<const std::int32_t> history_of(const Tensor& ids, std::int64_t row) {
  const std::int64_t length = ids.size(1);
  return {ids.data<std::int32_t>() + row * length, static_cast<std::size_t>(length)};
}

}  // namespace refrain::detail
