#pragma once
/// Declarations of the CUDA kernels of all families, as dispatch.cpp and the other families see them.  No toolkit header is needed.

#include <cstddef>

#include "refrain/core/device.hpp"
#include "refrain/core/error.hpp"
#include "refrain/kernels/adapter.hpp"
#include "refrain/kernels/causal_conv.hpp"
#include "refrain/kernels/loss.hpp"
#include "refrain/kernels/matmul.hpp"
#include "refrain/kernels/memory.hpp"
#include "refrain/kernels/optimizer.hpp"
#include "refrain/kernels/pointwise.hpp"
#include "refrain/kernels/recurrent.hpp"
#include "refrain/kernels/rows.hpp"
#include "refrain/kernels/steps.hpp"

namespace refrain::kernels::cuda {

/// Throws DTypeError unless the element type is f32 or f64.
template <class Args>
void check_floating(DType dtype) {
  if (!is_floating(dtype)) throw DTypeError(concat(Args::name, ": expected f32 or f64, got ", dtype));
}

// matmul
void matmul(const Matmul& args, Stream stream);
std::size_t matmul_workspace(const Matmul& args);
void pack_weights(const PackWeights& args, Stream stream);
std::size_t packed_bytes(std::int64_t rows, std::int64_t columns, DType dtype);
void packed_matmul(const PackedMatmul& args, Stream stream);
std::size_t packed_matmul_workspace(const PackedMatmul& args);
void add_outer_products(const AddOuterProducts& args, Stream stream);
std::size_t add_outer_products_workspace(const AddOuterProducts& args);

}  // namespace refrain::kernels::cuda
