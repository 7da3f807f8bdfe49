// Gradients of the patch y = x + gelu(x down + down_bias) up + up_bias on the GPU. Device: f32,
// f64.
//   dm = (dy up^T) * gelu'(bottleneck),  dx = dy + dm down^T
//   ddown = x^T dm,  ddown_bias = sum_rows dm
//   dup = gelu(bottleneck)^T dy,  dup_bias = sum_rows dy
// Shapes: x, dy, dx [rows,C]; bottleneck, dm [rows,D]; down [C,D], up [D,C].
//
// dm and dx in f32 with C and D multiples of 4 up to 64 and 16-byte addresses: one launch. A block
// of 128 threads loads 16 rows of dy into shared memory, multiplies them by up^T, 32 columns at a
// time, and the result, which stays in shared memory, by down^T, 64 columns at a time; up and down
// stream in slices of 32 with two stages. dm is written to memory only if the gradient of a weight
// reads it. Other sizes in f32: two cuBLASLt products and the derivative of the GELU. f64: two
// launches of input_gradient (cuda_conv_backward.cu).
// Weights: both in one launch of outer_products.cuh and one for its partial sums (f32, C up to 64,
// D up to 32); otherwise cuBLASLt products, in f64 outer_products.cuh for each. Biases:
// column_sums.cuh. gelu(bottleneck) is computed by the launch of dm, or by a separate one.
//
// With a bank of patches the tiles do not cross sequences (tiling/bank_rows.cuh), and sizes beyond
// those of the one launch take the path of f64. A block sums the rows of one patch, in the order of
// the batch: two launches for the weights, one for each bias.
//
// FLOPs: 4 C D rows, with weights 8. Memory traffic: (2 C + D) rows elements, with weights (4 C + 6
// D) rows; up and down once per 16 rows, from the cache. Bound by memory bandwidth, the products by
// arithmetic.

#include "kernels/patch/patch_backward.cuh"
#include "kernels/patch/patch_weight_gradient.cuh"
#include "refrain/kernels/patch.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {
namespace {

/// The path that computes the gradients, and their scratch memory.
template <class T>
struct PatchBackwardPlan {
  bool tile = false;          ///< PatchGradientTile supports the sizes
  bool made_by_tile = false;  ///< PatchGradientTile computes a requested gradient
  PatchInputGradient<T> patch{};
  MutableView library{};  ///< scratch memory of the cuBLASLt products
  PatchWeightGradient<T> weights;

  PatchBackwardPlan(const PatchBackward& args, Scratch& scratch) {
    const std::int64_t rows = args.dy.shape.rows();
    patch = PatchInputGradient<T>::of(args.patch, args.bottleneck, rows);
    patch.dx = args.dx.as<T>();
    tile = fits_patch_tile(patch) && simt::aligned_16(args.dy.as<T>());
    const bool kept = args.dpatch.down || args.dpatch.down_bias || (args.dx && !tile);
    if (kept) patch.dm = scratch.take<T>(rows * patch.width);
    if ((!tile && needs_library(patch)) ||
        PatchWeightGradient<T>::needs_library(args.dpatch, args.patch)) {
      library = take_product_scratch(scratch);
    }
    weights = PatchWeightGradient<T>(args.dpatch, args.patch, rows, library, scratch);
    made_by_tile = tile && (args.dx || args.dpatch.down || args.dpatch.down_bias);
    if (made_by_tile) patch.active = weights.active();
  }
};

template <class T>
void backward(const PatchBackward& args, Scratch& scratch) {
  constexpr const char* name = PatchBackward::name;
  const PatchBackwardPlan<T> plan(args, scratch);
  if (scratch.is_counting()) return;
  const T* const dy = args.dy.as<T>();
  const bool wanted = args.dx || args.dpatch.down || args.dpatch.down_bias;
  if (wanted && plan.patch.rows > 0) {
    if (!plan.tile) {
      patch_input_gradient(name, dy, plan.patch, plan.library);
    } else if constexpr (std::is_same_v<T, float>) {
      for_math_mode<float>([&]<MathMode mode>() {
        const simt::Launch how{.name = name,
                               .grid = simt::blocks_for(plan.patch.bank.tiles(patch_rows), 1),
                               .block = patch_threads,
                               .shared_bytes = PatchGradientTile<mode>::shared_bytes(plan.patch)};
        simt::launch(how, patch_input_gradient<mode>, dy, plan.patch);
      });
    }
  }
  plan.weights.run(name, args.x.as<T>(), plan.patch.bottleneck, plan.made_by_tile, plan.patch.dm,
                   dy);
}

}  // namespace

template <>
void kernel(const PatchBackward& args, Scratch& scratch) {
  for_floating<PatchBackward>(args.dy.dtype, [&]<class T>(T) { backward<T>(args, scratch); });
}

template void entry(const PatchBackward&, ScratchMemory&);

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
