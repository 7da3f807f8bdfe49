#pragma once
/// The gradients of the weights of a patch, for the patch and for half a residual block; formulas,
/// grids and bytes: cuda_backward.cu.

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "kernels/causal_conv/conv_backward.cuh"
#include "kernels/kernel.hpp"
#include "kernels/matmul/product_scratch.hpp"
#include "kernels/patch/patch_backward.cuh"
#include "kernels/pointwise/cuda.hpp"
#include "refrain/kernels/patch.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

/// Factors of the gradients of both weights: task 0 is ddown = x^T dm, task 1 the transpose of dup,
/// dh^T active. Null where a gradient is not requested.
template <class T>
struct PatchPairRows {
  const T* of_down;
  const T* of_up;
  std::int64_t width;
  __device__ __forceinline__ const T* operator()(std::int64_t task, std::int64_t p) const {
    const T* const from = task == 0 ? of_down : of_up;
    return from == nullptr ? nullptr : from + p * width;
  }
};

/// Their partial sums [parts,2,C,D] as terms of ddown [C,D] and dup [D,C].
template <class T>
struct PatchPairTerms {
  using Element = T;
  static constexpr int sums = 2;
  const T* parts;
  std::int64_t channels;
  std::int64_t width;
  __device__ __forceinline__ void read(std::int64_t part, std::int64_t column,
                                       T (&terms)[2]) const {
    const T* const of_part = parts + part * 2 * channels * width;
    terms[0] = of_part[column];
    terms[1] = of_part[(channels + column % channels) * width + column / channels];
  }
};

/// The gradients of the weights of a bank from their sums.
template <class T>
struct PlacedBankGradients {
  const T* sums;  ///< [G,2,channels,widest]: ddown, and the transpose of dup
  BankRows bank;
  const std::int32_t* widths;  ///< [K], or null
  std::int64_t channels;
  std::int64_t widest;
  T* down;  ///< [G,channels,widest], or null
  T* up;    ///< [G,widest,channels], or null
};

/// Row (blockIdx.y) of the gradients: the elements of its patch, then zeros.
template <class T>
__global__ void __launch_bounds__(pointwise_threads)
    place_bank_gradients(PlacedBankGradients<T> of) {
  const std::int64_t used = blockIdx.y;
  std::int64_t width = of.widest;
  if (of.widths != nullptr) {
    const BankSegment segment = segment_of(of.bank, used);
    if (segment.begin < segment.end) width = of.widths[of.bank.rows[segment.begin]];
  }
  const std::int64_t i = simt::global_thread();
  if (i >= of.channels * of.widest) return;
  const bool inside = i < of.channels * width;
  const std::int64_t to = used * of.channels * of.widest + i;
  const T* const sums = of.sums + used * 2 * of.channels * of.widest;
  if (of.down != nullptr) of.down[to] = inside ? sums[i / width * of.widest + i % width] : T{0};
  if (of.up != nullptr) {
    of.up[to] = inside ? sums[(of.channels + i % of.channels) * of.widest + i / of.channels] : T{0};
  }
}

/// The requested gradients of the weights of a patch, and their scratch memory:
///   ddown = x^T dm,  ddown_bias = sum of dm,  dup = gelu(bottleneck)^T dh,  dup_bias = sum of dh
/// Both products of a narrow patch in f32 take one launch and one for their partial sums; others
/// use cuBLASLt in f32 and outer_products.cuh in f64. For a bank one launch computes the sums over
/// the rows of each patch, [G,2,C,D], and one places them in the rows of the bank.
template <class T>
class PatchWeightGradient {
 public:
  PatchWeightGradient() = default;
  /// library: from take_product_scratch if needs_library(), otherwise empty.
  PatchWeightGradient(const PatchGradients& wanted, const PatchViews& patch, std::int64_t rows,
                      const MutableView& library, Scratch& scratch)
      : wanted_(wanted),
        rows_(rows),
        channels_(patch.down.shape[-2]),
        width_(patch.down.shape[-1]),
        bank_(BankRows::of(patch.bank_rows, rows)),
        widths_(patch.widths.as<std::int32_t>()),
        library_(library) {
    const std::int64_t channels = channels_, width = width_;
    if (wanted.up) active_ = scratch.take<T>(rows * width);
    if (is_bank()) {
      if (wanted.down || wanted.up) parts_ = scratch.take<T>(used() * 2 * channels * width);
      return;
    }
    if (in_pair(wanted, channels, width)) {
      parts_ = scratch.take<T>(outer_cut(rows, channels, width, 2).parts * 2 * channels * width);
    } else if (std::is_same_v<T, double> && (wanted.down || wanted.up)) {
      const std::int64_t of_down = wanted.down ? outer_parts(rows, channels, width) : 0;
      const std::int64_t of_up = wanted.up ? outer_parts(rows, width, channels) : 0;
      parts_ = scratch.take<T>(std::max(of_down, of_up));
    }
    if (wanted.down_bias || wanted.up_bias) {
      bias_parts_ = scratch.take<T>(
          column_parts(rows, wanted.up_bias ? std::max(channels, width) : width, 1));
    }
  }

  static bool needs_library(const PatchGradients& wanted, const PatchViews& patch) {
    return std::is_same_v<T, float> && !patch.bank_rows && (wanted.down || wanted.up) &&
           !in_pair(wanted, patch.down.shape[-2], patch.down.shape[-1]);
  }

  /// Memory for gelu(bottleneck) [rows,width], which run() reads; null when up is not requested.
  T* active() const { return active_; }

  /// x: the input of the patch [rows,channels], read for down; dm: read for down and its bias; dh:
  /// read for up and its bias. is_active: active() contains gelu(bottleneck).
  void run(const char* name, const T* x, const T* bottleneck, bool is_active, const T* dm,
           const T* dh) const {
    if (wanted_.up && !is_active) {
      const Shape shape{rows_, width_};
      kernel(UnaryForward{.x = {bottleneck, shape, dtype_of<T>, Device::cuda},
                          .y = {active_, shape, dtype_of<T>, Device::cuda},
                          .function = UnaryFunction::gelu});
    }
    if (is_bank()) return run_bank(name, x, dm, dh);
    if (in_pair(wanted_, channels_, width_)) {
      run_pair(name, x, dm, dh);
    } else {
      if (wanted_.down) multiply(name, x, channels_, dm, width_, wanted_.down.as<T>());
      if (wanted_.up) multiply(name, active_, width_, dh, channels_, wanted_.up.as<T>());
    }
    if (wanted_.down_bias)
      bias_gradient(name, dm, rows_, width_, wanted_.down_bias.as<T>(), bias_parts_);
    if (wanted_.up_bias)
      bias_gradient(name, dh, rows_, channels_, wanted_.up_bias.as<T>(), bias_parts_);
  }

 private:
  static bool in_pair(const PatchGradients& wanted, std::int64_t channels, std::int64_t width) {
    return std::is_same_v<T, float> && (wanted.down || wanted.up) &&
           channels <= max_patch_channels && width <= 32;
  }

  bool is_bank() const { return bank_.rows != nullptr; }

  /// G of the gradients of a bank.
  std::int64_t used() const {
    for (const MutableView* gradient :
         {&wanted_.down, &wanted_.down_bias, &wanted_.up, &wanted_.up_bias}) {
      if (*gradient) return gradient->shape[0];
    }
    return 0;
  }

  OuterProducts<T, PatchPairRows<T>, PatchPairRows<T>> pair(const T* x, const T* dm,
                                                            const T* dh) const {
    return {.a = {wanted_.down ? x : nullptr, wanted_.up ? dh : nullptr, channels_},
            .b = {wanted_.down ? dm : nullptr, active_, width_},
            .count = rows_,
            .inner = channels_,
            .columns = width_,
            .tasks = 2,
            .aligned = whole_packs<T>(channels_) && whole_packs<T>(width_) &&
                       simt::aligned_16(x, dh, dm, active_)};
  }

  void run_bank(const char* name, const T* x, const T* dm, const T* dh) const {
    const std::int64_t used = this->used(), elements = channels_ * width_;
    if (parts_ != nullptr && used > 0 && elements > 0) {
      const unsigned along_y = blocks_of_bank(used);
      start_outer_products(name, pair(x, dm, dh), outer_tiles(channels_, width_, 2),
                           BankSlices{bank_}, along_y, false, parts_);
      const PlacedBankGradients<T> placed{.sums = parts_,
                                          .bank = bank_,
                                          .widths = widths_,
                                          .channels = channels_,
                                          .widest = width_,
                                          .down = wanted_.down.template as<T>(),
                                          .up = wanted_.up.template as<T>()};
      const simt::Launch how{.name = name,
                             .grid = dim3(simt::blocks_for(elements, pointwise_threads), along_y),
                             .block = pointwise_threads};
      simt::launch(how, place_bank_gradients<T>, placed);
    }
    const auto sum = [&](const T* terms, std::int64_t width, const MutableView& out) {
      if (!out) return;
      const MatrixTerms<T, 1> of_rows{.from = terms, .stride = width, .apart = 0};
      sum_columns_of_bank(name, of_rows, bank_, used, width,
                          ColumnTargets<T, 1>{.to = {out.as<T>()}, .stride = width});
    };
    sum(dm, width_, wanted_.down_bias);
    sum(dh, channels_, wanted_.up_bias);
  }

  void run_pair(const char* name, const T* x, const T* dm, const T* dh) const {
    const std::int64_t elements = channels_ * width_;
    if (elements == 0) return;
    const OuterCut cut = outer_cut(rows_, channels_, width_, 2);
    start_outer_products(name, pair(x, dm, dh), cut, false, parts_);
    sum_columns(name, PatchPairTerms<T>{parts_, channels_, width_}, cut.parts, elements,
                ColumnTargets<T, 2>{.to = {wanted_.down.as<T>(), wanted_.up.as<T>()}, .stride = 0},
                static_cast<T*>(nullptr));
  }

  /// out [inner,columns] = a^T b, a [rows,inner], b [rows,columns].
  void multiply(const char* name, const T* a, std::int64_t inner, const T* b, std::int64_t columns,
                T* out) const {
    if constexpr (std::is_same_v<T, double>) {
      weight_gradient(name, WeightGradient<T>::dense(a, b, rows_, inner, columns, out, parts_));
    } else {
      multiply_matrices({.a = a,
                         .b = b,
                         .c = out,
                         .rows = inner,
                         .columns = columns,
                         .depth = rows_,
                         .transpose_a = true,
                         .workspace = library_});
    }
  }

  PatchGradients wanted_;
  std::int64_t rows_ = 0;
  std::int64_t channels_ = 0;
  std::int64_t width_ = 0;  ///< of the widest patch of a bank
  BankRows bank_{};
  const std::int32_t* widths_ = nullptr;
  MutableView library_{};
  T* parts_ = nullptr;
  T* active_ = nullptr;
  T* bias_parts_ = nullptr;
};

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
