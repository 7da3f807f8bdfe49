// The adapter (model patch) on the GPU.  Device: f32, f64.
//   y = x + gelu(x down + down_bias) up + up_bias;   saved on request: x down + down_bias
// Shapes: x, y [rows,C]; down [C,D]; down_bias [D]; up [D,C]; up_bias [C]; bottleneck [rows,D].
//
// One launch: a block keeps 64 rows in a tile of 64, 128 or 256 columns of shared memory and runs both products on it (patch_tile.cuh), 32
// columns of the bottleneck at a time, f32 by math_mode().
// Moved: x and y once, down and up once per 64 rows, mostly from second-level cache.  FLOPs 4 C D rows.  Limit: memory.
// Any C up to 256 in f32 and 64 in f64 (copies of 16 bytes where C, D and the addresses allow), any D.  Wider rows: two convolutions of one
// tap with the GELU between them, through [rows,D] of workspace.

#include "kernels/adapter/forward.cuh"
#include "kernels/cuda.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {
namespace {

/// A matrix [rows,columns] as rows of one step each.
template <class Matrix>
Matrix as_steps(Matrix matrix, std::int64_t rows, std::int64_t columns) {
  matrix.shape = Shape{rows, 1, columns};
  return matrix;
}
/// A matrix as a convolution's only tap.
View as_tap(View matrix) {
  matrix.shape = Shape{1, matrix.shape[0], matrix.shape[1]};
  return matrix;
}

template <class T>
void forward(const AdapterForward& args, Stream stream) {
  const std::int64_t rows = args.x.shape.rows();
  const Patch<T> patch(args.patch, args.bottleneck);
  if (rows == 0 || patch.channels == 0) return;
  const T* const x = args.x.as<T>();
  T* const y = args.y.as<T>();
  const bool in_one =
      for_tile_columns<T>(patch.channels, patch.aligned() && simt::aligned_16(x, y), [&]<int columns, bool aligned>() {
        for_math_mode<T>([&]<MathMode mode>() {
          using Patched = PatchTile<T, mode, columns, aligned>;
          const simt::Launch how{.name = AdapterForward::name,
                                 .grid = simt::blocks_for(rows, tile_rows),
                                 .block = Patched::Up::threads,
                                 .shared_bytes = simt::piece_bytes<T>(tile_rows * Patched::stride) + Patched::shared_bytes(),
                                 .stream = stream};
          simt::launch(how, adapter_tile<T, mode, columns, aligned>, patch, x, rows, y);
        });
      });
  if (!in_one) add_patch(args, args.x, stream);
}

}  // namespace

void add_patch(const AdapterForward& args, const View& base, Stream stream) {
  const std::int64_t rows = args.x.shape.rows();
  const std::int64_t channels = args.patch.down.shape[0];
  const std::int64_t bottleneck = args.patch.down.shape[1];
  MutableView active = as_steps(args.workspace, rows, bottleneck);
  active.dtype = args.x.dtype;
  const MutableView hidden = args.bottleneck ? as_steps(args.bottleneck, rows, bottleneck) : active;
  causal_conv_forward(
      {.x = as_steps(args.x, rows, channels), .w = as_tap(args.patch.down), .bias = args.patch.down_bias, .y = hidden}, stream);
  unary_forward({.x = hidden, .y = active, .function = UnaryFunction::gelu}, stream);
  convolve({.x = active, .w = as_tap(args.patch.up), .bias = args.patch.up_bias, .y = as_steps(args.y, rows, channels)}, base,
           stream);
}

std::size_t add_patch_workspace(std::int64_t rows, const PatchWeights& patch) {
  return static_cast<std::size_t>(rows * patch.down.shape[1]) * size_bytes(patch.down.dtype);
}

void adapter_forward(const AdapterForward& args, Stream stream) {
  for_floating<AdapterForward>(args.x.dtype, [&]<class T>(T) { forward<T>(args, stream); });
}

std::size_t adapter_forward_workspace(const AdapterForward& args) {
  if (is_tile_width(args.x.shape[-1], args.x.dtype)) return 0;
  return add_patch_workspace(args.x.shape.rows(), args.patch);
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
