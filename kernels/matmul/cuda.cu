// Matrix products on the GPU: cuBLASLt on the tensors as they lie.
//   matmul              c = op(a) op(b) (+ bias)
//   pack_weights        packed = op(b), row-major [K,N]: a copy, or a transposition by cuBLAS.  The library reads any layout at full
//                       speed; packing serves the recurrent kernels, which share one weight over many small products.
//   packed_matmul       c = a packed (+ bias)
//   add_outer_products  c += a^T b

#include "kernels/cuda.hpp"
#include "kernels/matmul/product_cuda.hpp"

namespace refrain::kernels::cuda {

using refrain::cuda::check;
using refrain::cuda::native;

void matmul(const Matmul& args, Stream stream) {
  check_floating<Matmul>(args.c.dtype);
  multiply_matrices({.a = args.a.data,
                     .b = args.b.data,
                     .bias = args.bias.data,
                     .c = args.c.data,
                     .rows = args.c.shape[0],
                     .columns = args.c.shape[1],
                     .depth = args.a.shape[args.transpose_a ? 0 : 1],
                     .transpose_a = args.transpose_a,
                     .transpose_b = args.transpose_b,
                     .dtype = args.c.dtype,
                     .workspace = args.workspace},
                    stream);
}

std::size_t matmul_workspace(const Matmul&) { return product_workspace(); }

std::size_t packed_bytes(std::int64_t rows, std::int64_t columns, DType dtype) {
  return static_cast<std::size_t>(rows * columns) * size_bytes(dtype);
}

void pack_weights(const PackWeights& args, Stream stream) {
  check_floating<PackWeights>(args.b.dtype);
  const cudaStream_t queue = native(stream);
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

void packed_matmul(const PackedMatmul& args, Stream stream) {
  check_floating<PackedMatmul>(args.c.dtype);
  multiply_matrices({.a = args.a.data,
                     .b = args.packed.data,
                     .bias = args.bias.data,
                     .c = args.c.data,
                     .rows = args.a.shape[0],
                     .columns = args.c.shape[1],
                     .depth = args.a.shape[1],
                     .dtype = args.c.dtype,
                     .workspace = args.workspace},
                    stream);
}

std::size_t packed_matmul_workspace(const PackedMatmul&) { return product_workspace(); }

void add_outer_products(const AddOuterProducts& args, Stream stream) {
  check_floating<AddOuterProducts>(args.c.dtype);
  multiply_matrices({.a = args.a.data,
                     .b = args.b.data,
                     .added = args.c.data,
                     .c = args.c.data,
                     .rows = args.c.shape[0],
                     .columns = args.c.shape[1],
                     .depth = args.a.shape[0],
                     .transpose_a = true,
                     .dtype = args.c.dtype,
                     .workspace = args.workspace},
                    stream);
}

std::size_t add_outer_products_workspace(const AddOuterProducts&) { return product_workspace(); }

}  // namespace refrain::kernels::cuda
