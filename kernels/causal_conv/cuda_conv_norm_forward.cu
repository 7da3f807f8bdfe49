// Half of a residual block on the GPU in one launch.  Device: f32, f64.
//   h = conv(x), patch(conv(x)) or conv(x) + patch(x);   patch(x) = x + gelu(x down + down_bias) up + up_bias
//   y = relu(gamma normalized + beta) (+ residual),  normalized = (h - mean(h)) inv_std,  inv_std = 1 / sqrt(var(h) + epsilon)
// Shapes: x, y, residual, normalized, conv [B,T,C]; w [K,C,C]; bias, gamma, beta [C]; down [C,D], up [D,C]; inv_std [B,T]; bottleneck
// [B,T,D].
//
// A block makes 64 rows with all their channels, in a tile of 64, 128 or 256 columns of shared memory, 4, 8 or 8 warps:
//   convolution   the implicit product of conv_tile.cuh, f32 by math_mode(); the sums end up where the factors' panels were
//   patch         two products (patch_tile.cuh): the first one's factor is the tile itself (serial) or streams from x (parallel), its
//                 results stay in shared memory; the second one's sums are added to the tile
//   norm          a warp per row, in registers: mean, variance of the centred row, normalisation, ReLU, residual
// Between x and y nothing passes through memory but what is saved for the backward pass.
// Moved: x K times (K + 1 with a parallel patch), mostly from second-level cache; w, down and up once per 64 rows; each output and the
// residual once.  FLOPs 2 K C^2 B T, with a patch + 4 C D B T.  Limit: arithmetic from some 64 channels on, below that memory.
// Any C up to 256 in f32 and 64 in f64, and any D whose rows fit into what is left of the shared memory (224 beside 256 channels on compute
// capability 8.0); copies of 16 bytes where C, D and the addresses allow.  Wider rows: convolution, patch, layer_norm_forward and
// element-by-element kernels one after the other, with y for h.

#include "kernels/causal_conv/conv_norm_forward.cuh"
#include "kernels/cuda.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {
namespace {

CausalConvForward convolution_alone(const ConvNormForward& args, const MutableView& y) {
  return {.x = args.x, .w = args.w, .bias = args.bias, .y = y, .dilation = args.dilation, .padding = args.padding};
}

/// Calls visit.template operator()<mode, columns, aligned>(shared bytes) when one launch can do it all; otherwise returns false.
template <class T, class Visit>
bool for_fused_tile(const ConvNormForward& args, const Patch<T>& patch, Visit&& visit) {
  const bool all_aligned =
      patch.aligned() && simt::aligned_16(args.x.as<T>(), args.w.as<T>(), args.gamma.as<T>(), args.beta.as<T>(),
                                          args.residual.as<T>(), args.y.as<T>(), args.normalized.as<T>(), args.conv.as<T>());
  bool fits = false;
  for_tile_columns<T>(args.w.shape[2], all_aligned, [&]<int columns, bool aligned>() {
    for_math_mode<T>([&]<MathMode mode>() {
      std::size_t bytes = simt::piece_bytes<T>(ConvTile<T, mode, columns, aligned>::elements);
      if (args.insertion != Insertion::none) bytes += PatchTile<T, mode, columns, aligned>::shared_bytes(patch.bottleneck);
      fits = bytes + ConvTile<T, mode, columns, aligned>::fixed_bytes <= simt::shared_limit_bytes();
      if (fits) visit.template operator()<mode, columns, aligned>(bytes);
    });
  });
  return fits;
}

void in_steps(const ConvNormForward& args, Stream stream) {
  const MutableView z = args.conv ? args.conv : args.y;
  causal_conv_forward(convolution_alone(args, z), stream);
  View h = z;
  if (args.insertion != Insertion::none) {
    View input = z;
    if (args.insertion == Insertion::parallel) {
      linear_combination({.a = z, .b = args.x, .out = args.y}, stream);
      h = args.y;
      input = args.x;
    }
    add_patch({.x = input, .patch = args.patch, .y = args.y, .bottleneck = args.bottleneck, .workspace = args.workspace}, h,
              stream);
    h = args.y;
  }
  layer_norm_forward({.x = h,
                      .gamma = args.gamma,
                      .beta = args.beta,
                      .y = args.y,
                      .normalized = args.normalized,
                      .inv_std = args.inv_std,
                      .epsilon = args.epsilon},
                     stream);
  unary_forward({.x = args.y, .y = args.y, .function = UnaryFunction::relu}, stream);
  if (args.residual) linear_combination({.a = args.y, .b = args.residual, .out = args.y}, stream);
}

template <class T>
void forward(const ConvNormForward& args, Stream stream) {
  const Convolution<T> conv = convolution_of<T>(convolution_alone(args, args.y));
  if (conv.rows == 0 || conv.out == 0) return;
  const Patch<T> patch(args.patch, args.bottleneck);
  const ConvNormTensors<T> tensors{.gamma = args.gamma.as<T>(),
                                   .beta = args.beta.as<T>(),
                                   .residual = args.residual.as<T>(),
                                   .y = args.y.as<T>(),
                                   .normalized = args.normalized.as<T>(),
                                   .inv_std = args.inv_std.as<T>(),
                                   .conv = args.conv.as<T>(),
                                   .epsilon = static_cast<T>(args.epsilon)};
  const bool fused = for_fused_tile<T>(args, patch, [&]<MathMode mode, int columns, bool aligned>(std::size_t shared_bytes) {
    const simt::Launch how{.name = ConvNormForward::name,
                           .grid = simt::blocks_for(conv.rows, conv_tile_rows),
                           .block = ConvTile<T, mode, columns, aligned>::threads,
                           .shared_bytes = shared_bytes,
                           .stream = stream};
    simt::launch(how, conv_norm_tile<T, mode, columns, aligned>, conv, args.insertion, patch, tensors);
  });
  if (!fused) in_steps(args, stream);
}

template <class T>
std::size_t workspace(const ConvNormForward& args) {
  const auto nothing = [&]<MathMode mode, int columns, bool aligned>(std::size_t) {};
  const bool fused = for_fused_tile<T>(args, Patch<T>(args.patch, args.bottleneck), nothing);
  return fused || args.insertion == Insertion::none ? 0 : add_patch_workspace(args.x.shape.rows(), args.patch);
}

}  // namespace

void conv_norm_forward(const ConvNormForward& args, Stream stream) {
  for_floating<ConvNormForward>(args.x.dtype, [&]<class T>(T) { forward<T>(args, stream); });
}

std::size_t conv_norm_forward_workspace(const ConvNormForward& args) {
  std::size_t bytes = 0;
  for_floating<ConvNormForward>(args.x.dtype, [&]<class T>(T) { bytes = workspace<T>(args); });
  return bytes;
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
