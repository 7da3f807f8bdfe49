#pragma once
/// Contracts of matrix products.  Device: cpu, cuda (f32, f64).

#include <cstdint>

#include "refrain/core/view.hpp"

namespace refrain::kernels {

/// c = op(a) op(b) (+ bias to every row), op(a) [M,K], op(b) [K,N], c [M,N], bias [N]. With
/// transpose_a op(a) = a^T and a is [K,M]; with transpose_b op(b) = b^T and b is [N,K].
struct Matmul {
  static constexpr const char* name = "matmul";
  View a{};
  View b{};
  View bias{};  ///< [N], or empty
  MutableView c{};
  bool transpose_a = false;
  bool transpose_b = false;

  Device device() const noexcept { return a.device; }
};

/// Elements of PackWeights::packed for op(b) [rows,columns], on every device.
constexpr std::int64_t packed_elements(std::int64_t rows, std::int64_t columns) noexcept {
  constexpr std::int64_t max_vector = 16;  // a row of a packed panel is whole vectors
  return rows * ((columns + max_vector - 1) / max_vector * max_vector);
}

/// Copies b into the layout that this device multiplies fastest, for a matrix that many products
/// share. `packed` receives op(b) [K,N] in packed_elements(K, N) elements. The layout is private to
/// the kernels of the device.
struct PackWeights {
  static constexpr const char* name = "pack_weights";
  View b{};  ///< [K,N], or [N,K] with transpose_b
  MutableView packed{};
  bool transpose_b = false;

  Device device() const noexcept { return b.device; }
};

/// c = a op(b) (+ bias to every row), op(b) packed by PackWeights.  a [M,K], c [M,N].
struct PackedMatmul {
  static constexpr const char* name = "packed_matmul";
  View a{};
  View packed{};
  View bias{};  ///< [N], or empty
  MutableView c{};

  Device device() const noexcept { return a.device; }
};

/// c += a^T b, a [K,M], b [K,N], c [M,N]. For a small K and a gradient that accumulates many
/// products.
struct AddOuterProducts {
  static constexpr const char* name = "add_outer_products";
  View a{};
  View b{};
  MutableView c{};

  Device device() const noexcept { return a.device; }
};

}  // namespace refrain::kernels
