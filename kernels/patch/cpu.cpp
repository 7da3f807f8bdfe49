/// The patch on the CPU: y = x + gelu(x down + down_bias) up + up_bias.
///
/// One pass over tiles of tile_rows rows; the bottleneck of a tile stays in the first-level cache.
/// 4 C D rows FLOPs forward, twice that backward with weight gradients; x and y go through memory
/// once.

#include "kernels/kernel.hpp"
#include "kernels/patch/patch_tile.hpp"
#include "refrain/kernels/patch.hpp"

namespace refrain::kernels::cpu {
namespace {

template <class T>
struct ForwardPlan {
  PatchPanels<T> patch;
  T* hidden;

  ForwardPlan(const PatchForward& args, Scratch& scratch)
      : patch(args.patch, false, args.x.shape.rows(), scratch),
        hidden(scratch.take<T>(threads() * tile_rows * patch.bottleneck)) {}
};

template <class T>
struct BackwardPlan {
  PatchPanels<T> patch;
  T* dm;
  PatchWeightGradient<T> weights;

  BackwardPlan(const PatchBackward& args, Scratch& scratch)
      : patch(args.patch, true, args.dy.shape.rows(), scratch),
        dm(scratch.take<T>(args.dy.shape.rows() * patch.bottleneck)),
        weights(args.dpatch, args.dy.shape.rows(), patch.channels, patch.bottleneck, scratch) {}
};

template <class T>
void forward(const PatchForward& args, Scratch& scratch) {
  const ForwardPlan<T> plan(args, scratch);
  if (scratch.is_counting()) return;
  plan.patch.fill(args.patch);
  const std::int64_t rows = args.x.shape.rows();
  const std::int64_t channels = plan.patch.channels;
  const std::int64_t width = plan.patch.bottleneck;
  const std::int64_t step = product_rows_per_task(rows, plan.patch.multiply_adds());
  parallel_tasks((rows + step - 1) / step, [&](std::int64_t task, int worker) {
    T* const hidden = plan.hidden + worker * tile_rows * width;
    const std::int64_t end = std::min(rows, (task + 1) * step);
    for (std::int64_t row = task * step; row < end; row += tile_rows) {
      const std::int64_t count = std::min<std::int64_t>(tile_rows, end - row);
      const T* const x = args.x.as<T>() + row * channels;
      T* const y = args.y.as<T>() + row * channels;
      std::copy_n(x, count * channels, y);
      T* const saved = args.bottleneck ? args.bottleneck.as<T>() + row * width : nullptr;
      patch_tile(plan.patch, x, channels, count, saved, hidden, y, channels);
    }
  });
}

template <class T>
void backward(const PatchBackward& args, Scratch& scratch) {
  const BackwardPlan<T> plan(args, scratch);
  if (scratch.is_counting()) return;
  plan.patch.fill(args.patch);
  const std::int64_t rows = args.dy.shape.rows();
  const std::int64_t channels = plan.patch.channels;
  const std::int64_t width = plan.patch.bottleneck;
  const T* const dy = args.dy.as<T>();
  const T* const m = args.bottleneck.as<T>();
  parallel_for(rows, product_rows_per_task(rows, plan.patch.multiply_adds()),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t row = begin; row < end; row += tile_rows) {
                   const std::int64_t count = std::min<std::int64_t>(tile_rows, end - row);
                   T* const dx = args.dx ? args.dx.as<T>() + row * channels : nullptr;
                   if (dx != nullptr) std::copy_n(dy + row * channels, count * channels, dx);
                   patch_tile_backward(plan.patch, dy + row * channels, channels, m + row * width,
                                       count, plan.dm + row * width, dx, channels);
                 }
               });
  plan.weights.run(args.x.as<T>(), m, plan.dm, dy);
}

}  // namespace

template <>
void kernel(const PatchForward& args, Scratch& scratch) {
  for_floating<PatchForward>(args.x.dtype, [&]<class T>(T) { forward<T>(args, scratch); });
}

template <>
void kernel(const PatchBackward& args, Scratch& scratch) {
  for_floating<PatchBackward>(args.dy.dtype, [&]<class T>(T) { backward<T>(args, scratch); });
}

template void entry(const PatchForward&, ScratchMemory&);
template void entry(const PatchBackward&, ScratchMemory&);

}  // namespace refrain::kernels::cpu
