// Products by cuBLASLt: the row-major product as a problem of a column-major library, and the
// choice of the algorithm.
//
// A row-major [r,c] matrix is a column-major [c,r] matrix, so c = op(a) op(b) is computed as c^T =
// op(b)^T op(a)^T: the first factor for cuBLASLt is b, the second a, and a bias with one element
// per column of c has one per row of c^T, as cuBLASLt requires.
//
// Choosing an algorithm takes about ten microseconds, so the choice is cached per problem: sizes,
// strides, transposes, element type, arithmetic, epilogue, and the alignment of the addresses. It
// depends on nothing else, so equal problems use equal algorithms and give equal bits.

#include <algorithm>
#include <bit>
#include <mutex>
#include <unordered_map>

#include "kernels/matmul/product_cuda.hpp"
#include "refrain/core/math_mode.hpp"

namespace refrain::cuda {

void check(cublasStatus_t status, const char* call) {
  if (status != CUBLAS_STATUS_SUCCESS) {
    throw DeviceError(refrain::detail::concat(call, ": ", cublasGetStatusName(status), " (",
                                              cublasGetStatusString(status), ")"));
  }
}

namespace {

std::mutex& blas_mutex() {
  static std::mutex& mutex = *new std::mutex;
  return mutex;
}

cublasHandle_t blas_handle() {
  static cublasHandle_t handle = [] {
    cublasHandle_t made = nullptr;
    check(cublasCreate(&made), "cublasCreate");
    return made;
  }();
  return handle;
}

}  // namespace

BlasCall::BlasCall(cudaStream_t stream) {
  blas_mutex().lock();
  try {
    handle_ = blas_handle();
    check(cublasSetStream(handle_, stream), "cublasSetStream");
  } catch (...) {
    blas_mutex().unlock();
    throw;
  }
}

BlasCall::~BlasCall() { blas_mutex().unlock(); }

}  // namespace refrain::cuda

namespace refrain::kernels::cuda {
namespace {

using refrain::cuda::check;

cublasLtHandle_t lt_handle() {
  static cublasLtHandle_t handle = [] {
    cublasLtHandle_t made = nullptr;
    check(cublasLtCreate(&made), "cublasLtCreate");
    return made;
  }();
  return handle;
}

/// Largest power of two up to 256 that divides an address.
std::uint32_t alignment(const void* pointer) {
  const auto address = reinterpret_cast<std::uintptr_t>(pointer);
  return address == 0
             ? 256u
             : static_cast<std::uint32_t>(std::min<std::uintptr_t>(256, address & (~address + 1)));
}

/// The properties that determine the choice of an algorithm.
struct Problem {
  std::int64_t rows, columns, depth, a_stride, b_stride, c_stride, batch, a_step, b_step, c_step,
      workspace_bytes;
  /// the alignment of c is the minimum of those of c, the bias and the added matrix
  std::uint32_t a_alignment, b_alignment, c_alignment;
  DType dtype;
  MathMode mode;
  bool transpose_a, transpose_b, add, has_bias;

  explicit Problem(const Product& p)
      : rows(p.rows),
        columns(p.columns),
        depth(p.depth),
        a_stride(p.a_stride > 0  ? p.a_stride
                 : p.transpose_a ? p.rows
                                 : p.depth),
        b_stride(p.b_stride > 0  ? p.b_stride
                 : p.transpose_b ? p.depth
                                 : p.columns),
        c_stride(p.c_stride > 0 ? p.c_stride : p.columns),
        batch(p.batch),
        a_step(p.a_step),
        b_step(p.b_step),
        c_step(p.c_step),
        workspace_bytes(p.workspace ? p.workspace.shape.numel() *
                                          static_cast<std::int64_t>(size_bytes(p.workspace.dtype))
                                    : 0),
        a_alignment(alignment(p.a)),
        b_alignment(alignment(p.b)),
        c_alignment(std::min({alignment(p.c), alignment(p.added), alignment(p.bias)})),
        dtype(p.dtype),
        mode(p.dtype == DType::f32 ? math_mode() : MathMode::exact),
        transpose_a(p.transpose_a),
        transpose_b(p.transpose_b),
        add(p.added != nullptr),
        has_bias(p.bias != nullptr) {}

  friend bool operator==(const Problem&, const Problem&) = default;

  struct Hash {
    std::size_t operator()(const Problem& p) const noexcept {
      std::uint64_t hash = 0xCBF29CE484222325ull;
      const auto mix = [&hash](auto value) {
        hash = (hash ^ static_cast<std::uint64_t>(value)) * 0x100000001B3ull;
      };
      for (const std::int64_t value :
           {p.rows, p.columns, p.depth, p.a_stride, p.b_stride, p.c_stride, p.batch, p.a_step,
            p.b_step, p.c_step, p.workspace_bytes}) {
        mix(value);
      }
      mix(p.a_alignment << 20 | p.b_alignment << 10 | p.c_alignment);
      mix(static_cast<unsigned>(p.dtype) << 8 | static_cast<unsigned>(p.mode) << 4 |
          (p.transpose_a ? 8u : 0u) | (p.transpose_b ? 4u : 0u) | (p.add ? 2u : 0u) |
          (p.has_bias ? 1u : 0u));
      return static_cast<std::size_t>(hash);
    }
  };
};

/// The descriptors of a problem for cuBLASLt.
struct Plan {
  cublasLtMatmulDescOpaque_t operation;
  cublasLtMatrixLayoutOpaque_t first;   ///< b
  cublasLtMatrixLayoutOpaque_t second;  ///< a
  cublasLtMatrixLayoutOpaque_t result;
  cublasLtMatmulAlgo_t algorithm;
};

cudaDataType_t element_type(DType dtype) {
  if (dtype == DType::f32) return CUDA_R_32F;
  if (dtype == DType::f64) return CUDA_R_64F;
  throw DTypeError(refrain::detail::concat("matmul: expected f32 or f64, got ", dtype));
}

cublasComputeType_t compute_type(const Problem& problem) {
  if (problem.dtype == DType::f64) return CUBLAS_COMPUTE_64F;
  switch (problem.mode) {
    case MathMode::tf32:
    // On an H100 cuBLASLt's bf16 products of f32 factors are no faster, some 5 times slower.
    case MathMode::bf16:
      return CUBLAS_COMPUTE_32F_FAST_TF32;
    default:
      return CUBLAS_COMPUTE_32F;
  }
}

template <class Value>
void set(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t attribute,
         const Value& value) {
  check(cublasLtMatmulDescSetAttribute(operation, attribute, &value, sizeof value),
        "cublasLtMatmulDescSetAttribute");
}

template <class Value>
void set(cublasLtMatrixLayout_t layout, cublasLtMatrixLayoutAttribute_t attribute,
         const Value& value) {
  check(cublasLtMatrixLayoutSetAttribute(layout, attribute, &value, sizeof value),
        "cublasLtMatrixLayoutSetAttribute");
}

template <class Value>
void set(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t attribute,
         const Value& value) {
  check(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value),
        "cublasLtMatmulPreferenceSetAttribute");
}

/// A stored row-major matrix of `columns` columns.
void describe(cublasLtMatrixLayoutOpaque_t& layout, cudaDataType_t type, std::int64_t rows,
              std::int64_t columns, std::int64_t stride, const Problem& problem,
              std::int64_t step) {
  check(cublasLtMatrixLayoutInit(&layout, type, static_cast<std::uint64_t>(columns),
                                 static_cast<std::uint64_t>(rows), stride),
        "cublasLtMatrixLayoutInit");
  if (problem.batch == 1) return;
  set(&layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, static_cast<std::int32_t>(problem.batch));
  set(&layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, step);
}

Plan plan_for(const Problem& problem) {
  Plan plan{};
  const cudaDataType_t type = element_type(problem.dtype);
  check(cublasLtMatmulDescInit(&plan.operation, compute_type(problem), type),
        "cublasLtMatmulDescInit");
  set(&plan.operation, CUBLASLT_MATMUL_DESC_TRANSA,
      problem.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(&plan.operation, CUBLASLT_MATMUL_DESC_TRANSB,
      problem.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
  if (problem.has_bias) set(&plan.operation, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
  const auto stored = [&](cublasLtMatrixLayoutOpaque_t& layout, bool transposed, std::int64_t rows,
                          std::int64_t columns, std::int64_t stride, std::int64_t step) {
    if (transposed) std::swap(rows, columns);
    describe(layout, type, rows, columns, stride, problem, step);
  };
  stored(plan.first, problem.transpose_b, problem.depth, problem.columns, problem.b_stride,
         problem.b_step);
  stored(plan.second, problem.transpose_a, problem.rows, problem.depth, problem.a_stride,
         problem.a_step);
  stored(plan.result, false, problem.rows, problem.columns, problem.c_stride, problem.c_step);

  cublasLtMatmulPreferenceOpaque_t preference;
  check(cublasLtMatmulPreferenceInit(&preference), "cublasLtMatmulPreferenceInit");
  set(&preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
      static_cast<std::size_t>(problem.workspace_bytes));
  set(&preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, problem.b_alignment);
  set(&preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, problem.a_alignment);
  set(&preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, problem.c_alignment);
  set(&preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, problem.c_alignment);
  cublasLtMatmulHeuristicResult_t found{};
  int count = 0;
  const cublasStatus_t status =
      cublasLtMatmulAlgoGetHeuristic(lt_handle(), &plan.operation, &plan.first, &plan.second,
                                     &plan.result, &plan.result, &preference, 1, &found, &count);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED || (status == CUBLAS_STATUS_SUCCESS && count == 0)) {
    throw Unsupported(refrain::detail::concat(
        "matmul: cuBLASLt has no algorithm for ", problem.rows, " x ", problem.depth, " x ",
        problem.columns, " in ", problem.dtype, ", batch ", problem.batch));
  }
  check(status, "cublasLtMatmulAlgoGetHeuristic");
  plan.algorithm = found.algo;
  return plan;
}

/// The cached plans; never destroyed, since they may be used until the end of the process.
class Plans {
 public:
  static Plans& instance() {
    static Plans& plans = *new Plans;
    return plans;
  }

  Plan of(const Problem& problem) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto known = plans_.find(problem);
    if (known != plans_.end()) return known->second;
    return plans_.emplace(problem, plan_for(problem)).first->second;
  }

 private:
  std::mutex mutex_;
  std::unordered_map<Problem, Plan, Problem::Hash> plans_;
};

/// Sets every row of c to the bias (zero without one): the product for depth 0, and the initial
/// value of a product that adds.
void start_with_bias(const Product& p, cudaStream_t stream) {
  using refrain::cuda::check;
  const std::size_t size = size_bytes(p.dtype);
  const std::size_t width = static_cast<std::size_t>(p.columns) * size;
  const std::size_t pitch =
      static_cast<std::size_t>(p.c_stride > 0 ? p.c_stride : p.columns) * size;
  const auto rows = static_cast<std::size_t>(p.rows);
  for (std::int64_t problem = 0; problem < p.batch; ++problem) {
    char* c = static_cast<char*>(p.c) + static_cast<std::size_t>(problem * p.c_step) * size;
    if (p.bias == nullptr) {
      check(cudaMemset2DAsync(c, pitch, 0, width, rows, stream), "cudaMemset2DAsync");
      continue;
    }
    check(cudaMemcpyAsync(c, p.bias, width, cudaMemcpyDeviceToDevice, stream), "cudaMemcpyAsync");
    for (std::size_t done = 1; done < rows;) {
      const std::size_t more = std::min(done, rows - done);
      check(cudaMemcpy2DAsync(c + done * pitch, pitch, c, pitch, width, more,
                              cudaMemcpyDeviceToDevice, stream),
            "cudaMemcpy2DAsync");
      done += more;
    }
  }
}

/// Sets c to the added matrix: the product for depth 0.
void start_with_added(const Product& p, cudaStream_t stream) {
  if (p.added == p.c) return;
  const std::size_t size = size_bytes(p.dtype);
  const std::size_t pitch =
      static_cast<std::size_t>(p.c_stride > 0 ? p.c_stride : p.columns) * size;
  for (std::int64_t problem = 0; problem < p.batch; ++problem) {
    const std::size_t at = static_cast<std::size_t>(problem * p.c_step) * size;
    refrain::cuda::check(
        cudaMemcpy2DAsync(static_cast<char*>(p.c) + at, pitch,
                          static_cast<const char*>(p.added) + at, pitch,
                          static_cast<std::size_t>(p.columns) * size,
                          static_cast<std::size_t>(p.rows), cudaMemcpyDeviceToDevice, stream),
        "cudaMemcpy2DAsync");
  }
}

}  // namespace

inline namespace REFRAIN_SIMT_BACKEND {

std::size_t product_workspace() {
  // NVIDIA recommends 32 MiB from Hopper on, 4 MiB before.
  static const std::size_t bytes = [] {
    int major = 0;
    const cudaError_t status = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0);
    if (status != cudaSuccess) cudaGetLastError();
    return std::size_t{status == cudaSuccess && major >= 9 ? 32u : 4u} << 20;
  }();
  return bytes;
}

void multiply_matrices(const Product& product) {
  const cudaStream_t stream = refrain::cuda::current_queue();
  Product p = product;
  if (p.rows == 0 || p.columns == 0 || p.batch == 0) return;
  if (p.depth == 0) {
    p.added == nullptr ? start_with_bias(p, stream) : start_with_added(p, stream);
    return;
  }
  if (p.bias != nullptr && p.dtype == DType::f64) {  // cuBLASLt adds a bias only to f32 results
    start_with_bias(p, stream);
    p.bias = nullptr;
    p.added = p.c;
  }
  const Problem problem(p);
  Plan plan = Plans::instance().of(problem);
  if (p.bias != nullptr) set(&plan.operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.bias);
  const auto run = [&]<class T>(T) {
    const T one = 1;
    const T kept = p.added != nullptr ? T{1} : T{0};
    const void* const added = p.added != nullptr ? p.added : p.c;
    check(
        cublasLtMatmul(lt_handle(), &plan.operation, &one, p.b, &plan.first, p.a, &plan.second,
                       &kept, added, &plan.result, p.c, &plan.result, &plan.algorithm,
                       p.workspace.data, static_cast<std::size_t>(problem.workspace_bytes), stream),
        "cublasLtMatmul");
  };
  p.dtype == DType::f64 ? run(double{}) : run(float{});
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
