// The patch (the "model patch" of PeterRec) on the GPU. Device: f32, f64.
//   y = x + gelu(x down + down_bias) up + up_bias;   saved on request: x down + down_bias
// Shapes: x, y [rows,C]; down [C,D]; down_bias [D]; up [D,C]; up_bias [C]; bottleneck [rows,D].
//
// One launch: a block keeps 64 rows in a tile of 64, 128 or 256 columns of shared memory and runs
// both products on it (patch_tile.cuh), f32 by math_mode(); the bottleneck also stays in shared
// memory. The tile allows C up to 256 in f32 and 64 in f64, and any D whose rows fit into the
// remaining shared memory (224 with 256 channels on compute capability 8.0). 16-byte copies where
// C, D and the addresses allow. Wider rows: two convolutions of one tap with the GELU between them,
// through [rows,D] of scratch memory.
//
// With a bank of patches a tile has rows of one sequence and reads the weights of its patch
// (tiling/bank_rows.cuh); rows without a patch are copied. saved has rows of the widest D, with
// zeros past the D of a patch. Wider rows have no kernel.
//
// FLOPs: 4 C D rows. Memory traffic: x and y once, down and up once per 64 rows, mostly from the
// second-level cache. Bound by memory bandwidth.

#include "kernels/causal_conv/cuda.hpp"
#include "kernels/kernel.hpp"
#include "kernels/patch/cuda.hpp"
#include "kernels/patch/forward.cuh"
#include "kernels/pointwise/cuda.hpp"
#include "refrain/kernels/patch.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {
namespace {

/// A matrix [rows,columns] as sequences of one time step.
template <class Matrix>
Matrix as_steps(Matrix matrix, std::int64_t rows, std::int64_t columns) {
  matrix.shape = Shape{rows, 1, columns};
  return matrix;
}
/// A matrix as the weight of a convolution with one tap.
View as_tap(View matrix) {
  matrix.shape = Shape{1, matrix.shape[0], matrix.shape[1]};
  return matrix;
}

/// Calls visit.template operator()<mode, columns, aligned>(shared bytes) when a single launch
/// suffices; otherwise returns false.
template <class T, class Visit>
bool for_patched_tile(const PatchForward& args, const View& base, const Patch<T>& patch,
                      Visit&& visit) {
  bool fits = false;
  const bool all_aligned =
      patch.aligned() && simt::aligned_16(args.x.as<T>(), base.as<T>(), args.y.as<T>());
  for_tile_columns<T>(patch.channels, all_aligned, [&]<int columns, bool aligned>() {
    for_math_mode<T>([&]<MathMode mode>() {
      using Patched = PatchTile<T, mode, columns, aligned>;
      const std::size_t bytes = simt::piece_bytes<T>(conv_tile_rows * Patched::stride) +
                                Patched::shared_bytes(patch.bottleneck);
      fits = bytes <= simt::shared_limit_bytes();
      if (fits) visit.template operator()<mode, columns, aligned>(bytes);
    });
  });
  return fits;
}

/// y = base + gelu(x down + down_bias) up + up_bias by one launch; x may be empty for base. Returns
/// false when the rows do not fit in a tile. Without `launches` only that is found out.
template <class T>
bool add_in_tile(const PatchForward& args, const View& base, bool launches) {
  const Patch<T> patch(args.patch, args.bottleneck, args.y.shape.rows());
  return for_patched_tile<T>(
      args, base, patch, [&]<MathMode mode, int columns, bool aligned>(std::size_t shared_bytes) {
        if (!launches) return;
        const simt::Launch how{.name = PatchForward::name,
                               .grid = simt::blocks_for(patch.bank.tiles(conv_tile_rows), 1),
                               .block = PatchTile<T, mode, columns, aligned>::threads,
                               .shared_bytes = shared_bytes};
        simt::launch(how, patch_tile<T, mode, columns, aligned>, patch, args.x.as<T>(),
                     base.as<T>(), args.y.as<T>());
      });
}

template <class T>
void forward(const PatchForward& args, Scratch& scratch) {
  if (args.x.shape.rows() == 0 || args.patch.down.shape[-2] == 0) return;
  PatchForward of_tile = args;
  of_tile.x = {};
  if (add_in_tile<T>(of_tile, args.x, !scratch.is_counting())) return;
  expect_no_bank(args.patch);
  add_patch(args, args.x, scratch);
}

}  // namespace

void expect_no_bank(const PatchViews& patch) {
  if (!patch.bank_rows) return;
  throw Unsupported(refrain::detail::concat(
      "CUDA: expected a bank of patches of at most ", max_tile_columns<float>, " channels (f64: ",
      max_tile_columns<double>, ") with a bottleneck that fits in shared memory, got ",
      patch.down.shape[-2], " channels and a bottleneck of ", patch.down.shape[-1]));
}

void expect_bank_fits(const PatchForward& args) {
  for_floating<PatchForward>(args.y.dtype, [&]<class T>(T) {
    if (!add_in_tile<T>(args, {}, false)) expect_no_bank(args.patch);
  });
}

void add_bank(const PatchForward& args, const View& base) {
  for_floating<PatchForward>(args.y.dtype, [&]<class T>(T) { add_in_tile<T>(args, base, true); });
}

void add_patch(const PatchForward& args, const View& base, Scratch& scratch) {
  const std::int64_t rows = args.x.shape.rows();
  const std::int64_t channels = args.patch.down.shape[0];
  const std::int64_t bottleneck = args.patch.down.shape[1];
  const std::int64_t bytes =
      rows * bottleneck * static_cast<std::int64_t>(size_bytes(args.x.dtype));
  const MutableView active{scratch.take<std::byte>(bytes), Shape{rows, 1, bottleneck}, args.x.dtype,
                           Device::cuda};
  if (scratch.is_counting()) return;
  const MutableView hidden = args.bottleneck ? as_steps(args.bottleneck, rows, bottleneck) : active;
  convolve({.x = as_steps(args.x, rows, channels),
            .w = as_tap(args.patch.down),
            .bias = args.patch.down_bias,
            .y = hidden},
           {});
  kernel(UnaryForward{.x = hidden, .y = active, .function = UnaryFunction::gelu});
  convolve({.x = active,
            .w = as_tap(args.patch.up),
            .bias = args.patch.up_bias,
            .y = as_steps(args.y, rows, channels)},
           base);
}

template <>
void kernel(const PatchForward& args, Scratch& scratch) {
  for_floating<PatchForward>(args.x.dtype, [&]<class T>(T) { forward<T>(args, scratch); });
}

template void entry(const PatchForward&, ScratchMemory&);

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
