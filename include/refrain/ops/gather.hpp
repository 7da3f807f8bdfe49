#pragma once
/// Gather of table rows. Dtypes f32, f64; ids i32.

#include <algorithm>
#include <array>

#include "refrain/kernels/gather.hpp"
#include "refrain/ops/check.hpp"

namespace refrain {

/// out[...,:] = table[ids[...],:]: table [V,C], ids i32 of any shape [...] -> [...,C]. The gradient
/// of the table is row-sparse. Throws DTypeError, DeviceError and ShapeError, on the CPU also for
/// an id outside [0,V).
inline Variable embedding(const Variable& table, const Tensor& ids) {
  constexpr const char* op = "embedding";
  detail::check_rank(op, "table", table, 2);
  detail::check_like(op, table);
  detail::check_ids(op, "ids", ids, table.size(0), table.device());
  if (ids.rank() >= Shape::max_rank)
    throw ShapeError(detail::concat("embedding: expected ids of rank ", Shape::max_rank - 1,
                                    " or less, got ", ids.shape()));
  std::array<std::int64_t, Shape::max_rank> extents{};
  std::copy(ids.shape().extents().begin(), ids.shape().extents().end(), extents.begin());
  extents[static_cast<std::size_t>(ids.rank())] = table.size(1);
  const std::size_t rank = static_cast<std::size_t>(ids.rank()) + 1;
  Tensor out = empty_like(table.value(), Shape(std::span<const std::int64_t>(extents).first(rank)));
  kernels::run(kernels::GatherRows{.table = table, .ids = ids, .out = out});
  return record(op, std::move(out), {table}, [ids](const Tensor& dout, auto& dtable) {
    const std::int64_t count = ids.numel();
    dtable.add(coalesce(ids.reshape({count}), dout.reshape({count, dout.size(-1)})));
  });
}

}  // namespace refrain
