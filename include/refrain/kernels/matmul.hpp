#pragma once
/// Contracts: matrix product.  Device: cpu (f32, f64).

#include <cstdint>

#include "refrain/core/view.hpp"

namespace refrain::kernels {

/// c = op(a) op(b) (+ bias to every row), op = transpose where asked. c [M,N]; a [M,K] or [K,M]; b
/// [K,N] or [N,K]; bias [N].
struct Matmul {
  static constexpr const char* name = "matmul";
  View a{};
  View b{};
  View bias{};  ///< or empty
  MutableView c{};
  bool transpose_a = false;
  bool transpose_b = false;
  MutableView workspace{};
};

/// Elements of PackWeights::packed for op(b) [rows,columns], on every device.
constexpr std::int64_t packed_elements(std::int64_t rows, std::int64_t columns) noexcept {
  constexpr std::int64_t max_vector = 16;  // a row of a packed panel is whole vectors
  return rows * ((columns + max_vector - 1) / max_vector * max_vector);
}

/// Lays b out the way this device multiplies fastest, for a matrix that many products share: packed
/// holds op(b) [K,N] in packed_elements(K, N) elements. The layout means nothing outside the
/// device's kernels.
struct PackWeights {
  static constexpr const char* name = "pack_weights";
  View b{};  ///< [K,N], or [N,K] with transpose_b
  MutableView packed{};
  bool transpose_b = false;
  MutableView workspace{};
};

/// c = a op(b) (+ bias to every row) with op(b) as pack_weights made it.  a [M,K], c [M,N].
struct PackedMatmul {
  static constexpr const char* name = "packed_matmul";
  View a{};
  View packed{};
  View bias{};  ///< or empty
  MutableView c{};
  MutableView workspace{};
};

/// c += a^T b over few rows, for a gradient that is summed over many products. a [K,M], b [K,N], c
/// [M,N].
struct AddOuterProducts {
  static constexpr const char* name = "add_outer_products";
  View a{};
  View b{};
  MutableView c{};
  MutableView workspace{};
};

}  // namespace refrain::kernels
