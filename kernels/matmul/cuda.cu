// Matrix products on the GPU by cuBLASLt, on the tensors in place.
//   matmul              c = op(a) op(b) (+ bias)
//   pack_weights        packed = op(b), row-major [K,N]: a copy, or a transposition by cuBLAS.
//                       cuBLASLt reads any layout at full speed; packing serves the recurrent
//                       kernels, which share one weight over many small products.
//   packed_matmul       c = a packed (+ bias)
//   add_outer_products  c += a^T b

#include "kernels/kernel.hpp"
#include "kernels/matmul/product_cuda.hpp"
#include "kernels/matmul/product_scratch.hpp"
#include "refrain/kernels/matmul.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {
namespace {

using refrain::cuda::check;
using refrain::cuda::current_queue;

/// Runs a product with scratch memory for cuBLASLt.
void multiply(Product product, Scratch& scratch) {
  product.workspace = take_product_scratch(scratch);
  if (!scratch.is_counting()) multiply_matrices(product);
}

}  // namespace

template <>
void kernel(const Matmul& args, Scratch& scratch) {
  check_floating<Matmul>(args.c.dtype);
  multiply({.a = args.a.data,
            .b = args.b.data,
            .bias = args.bias.data,
            .c = args.c.data,
            .rows = args.c.shape[0],
            .columns = args.c.shape[1],
            .depth = args.a.shape[args.transpose_a ? 0 : 1],
            .transpose_a = args.transpose_a,
            .transpose_b = args.transpose_b,
            .dtype = args.c.dtype},
           scratch);
}

template <>
void kernel(const PackWeights& args) {
  check_floating<PackWeights>(args.b.dtype);
  const cudaStream_t queue = current_queue();
  const std::size_t bytes =
      static_cast<std::size_t>(args.b.shape.numel()) * size_bytes(args.b.dtype);
  if (bytes == 0) return;
  if (!args.transpose_b) {
    check(cudaMemcpyAsync(args.packed.data, args.b.data, bytes, cudaMemcpyDeviceToDevice, queue),
          "cudaMemcpyAsync");
    return;
  }
  // As column-major matrices: b is [K,N], packed its transpose [N,K].
  const std::int64_t columns = args.b.shape[0];
  const std::int64_t depth = args.b.shape[1];
  const refrain::cuda::BlasCall blas(queue);
  if (args.b.dtype == DType::f64) {
    const double one = 1;
    const double zero = 0;
    auto* packed = args.packed.as<double>();
    check(cublasDgeam_64(blas, CUBLAS_OP_T, CUBLAS_OP_N, columns, depth, &one, args.b.as<double>(),
                         depth, &zero, packed, columns, packed, columns),
          "cublasDgeam");
  } else {
    const float one = 1;
    const float zero = 0;
    auto* packed = args.packed.as<float>();
    check(cublasSgeam_64(blas, CUBLAS_OP_T, CUBLAS_OP_N, columns, depth, &one, args.b.as<float>(),
                         depth, &zero, packed, columns, packed, columns),
          "cublasSgeam");
  }
}

template <>
void kernel(const PackedMatmul& args, Scratch& scratch) {
  check_floating<PackedMatmul>(args.c.dtype);
  multiply({.a = args.a.data,
            .b = args.packed.data,
            .bias = args.bias.data,
            .c = args.c.data,
            .rows = args.a.shape[0],
            .columns = args.c.shape[1],
            .depth = args.a.shape[1],
            .dtype = args.c.dtype},
           scratch);
}

template <>
void kernel(const AddOuterProducts& args, Scratch& scratch) {
  check_floating<AddOuterProducts>(args.c.dtype);
  multiply({.a = args.a.data,
            .b = args.b.data,
            .added = args.c.data,
            .c = args.c.data,
            .rows = args.c.shape[0],
            .columns = args.c.shape[1],
            .depth = args.a.shape[0],
            .transpose_a = true,
            .dtype = args.c.dtype},
           scratch);
}

template void entry(const Matmul&, ScratchMemory&);
template void entry(const PackWeights&, ScratchMemory&);
template void entry(const PackedMatmul&, ScratchMemory&);
template void entry(const AddOuterProducts&, ScratchMemory&);

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
