/// The patch on the CPU: y = x + gelu(x down + down_bias) up + up_bias.
///
/// One pass over tiles of tile_rows rows; the bottleneck of a tile stays in the first-level cache.
/// 4 C D rows FLOPs forward, twice that backward with weight gradients; x and y go through memory
/// once.

#include "kernels/kernel.hpp"
#include "kernels/patch/patch_tile.hpp"
#include "kernels/patch/patch_weight_gradient.hpp"
#include "refrain/kernels/patch.hpp"

namespace refrain::kernels::cpu {
namespace {

/// The sequences of rows [rows,C]: of a bank its rows, otherwise all rows are one sequence.
std::int64_t sequences_of(const PatchViews& patch) {
  return patch.bank_rows ? patch.bank_rows.shape.numel() : 1;
}

template <class T>
struct ForwardPlan {
  PatchSegments<T> segments;
  PatchWeights<T> patch;
  T* hidden;

  ForwardPlan(const PatchForward& args, Scratch& scratch)
      : segments(args.patch, sequences_of(args.patch), scratch),
        patch(segments, PatchPass::forward, args.x.shape.rows(), scratch),
        hidden(scratch.take<T>(threads() * tile_rows * segments.bottleneck())) {}
};

template <class T>
struct BackwardPlan {
  std::int64_t rows_per_sequence;
  PatchSegments<T> segments;
  SegmentBlocks<T> blocks;
  PatchWeights<T> patch;
  T* dm;
  PatchWeightGradient<T> weights;

  BackwardPlan(const PatchBackward& args, Scratch& scratch)
      : rows_per_sequence(args.dy.shape.rows() /
                          std::max<std::int64_t>(1, sequences_of(args.patch))),
        segments(args.patch, sequences_of(args.patch), scratch),
        blocks(segments, rows_per_sequence,
               product_rows_per_task(args.dy.shape.rows(),
                                     2 * segments.channels() * segments.bottleneck()),
               scratch),
        patch(segments, PatchPass::backward, args.dy.shape.rows(), scratch),
        dm(scratch.take<T>(args.dy.shape.rows() * segments.bottleneck())),
        weights(args.dpatch, segments, rows_per_sequence, scratch) {}
};

template <class T>
void forward(const PatchForward& args, Scratch& scratch) {
  ForwardPlan<T> plan(args, scratch);
  if (scratch.is_counting()) return;
  plan.segments.fill();
  plan.patch.fill(plan.segments);
  const std::int64_t rows = args.x.shape.rows();
  if (rows == 0) return;
  const std::int64_t rows_per_sequence = rows / plan.segments.sequences();
  const std::int64_t channels = plan.segments.channels();
  const std::int64_t width = plan.segments.bottleneck();
  const std::int64_t step = product_rows_per_task(rows, plan.patch.multiply_adds());
  parallel_tasks((rows + step - 1) / step, [&](std::int64_t task, int worker) {
    T* const hidden = plan.hidden + worker * tile_rows * width;
    PatchCursor<T> cursor(plan.patch, worker);
    const std::int64_t end = std::min(rows, (task + 1) * step);
    for (std::int64_t row = task * step; row < end; row += tile_rows) {
      const std::int64_t count = std::min<std::int64_t>(tile_rows, end - row);
      std::copy_n(args.x.as<T>() + row * channels, count * channels,
                  args.y.as<T>() + row * channels);
      const auto add = [&](const PatchSegment<T>& segment, std::int64_t first, std::int64_t part) {
        if (segment.bottleneck == 0) return;
        T* const saved =
            bottleneck_row(args.bottleneck.as<T>(), segment, width, rows_per_sequence, first);
        patch_tile(cursor.at(segment), args.x.as<T>() + first * channels, channels, part, saved,
                   hidden, args.y.as<T>() + first * channels, channels);
      };
      plan.segments.for_parts(row, count, rows_per_sequence, add);
    }
  });
}

template <class T>
void backward(const PatchBackward& args, Scratch& scratch) {
  BackwardPlan<T> plan(args, scratch);
  if (scratch.is_counting()) return;
  plan.segments.fill();
  plan.blocks.fill();
  plan.patch.fill(plan.segments);
  const std::int64_t channels = plan.segments.channels();
  const std::int64_t width = plan.segments.bottleneck();
  const T* const dy = args.dy.as<T>();
  const T* const m = args.bottleneck.as<T>();
  parallel_tasks(plan.blocks.count(), [&](std::int64_t block, int worker) {
    const auto [index, begin, end] = plan.blocks[block];
    const PatchSegment<T>& segment = plan.segments[index];
    T* const dx = args.dx.as<T>();
    if (dx != nullptr) std::copy(dy + begin * channels, dy + end * channels, dx + begin * channels);
    if (segment.bottleneck == 0) return;
    const PatchPanels<T> panels = plan.patch.of(segment, worker);
    for (std::int64_t row = begin; row < end; row += tile_rows) {
      const std::int64_t count = std::min<std::int64_t>(tile_rows, end - row);
      const auto inner = [&](auto* tensor) {
        return bottleneck_row(tensor, segment, width, plan.rows_per_sequence, row);
      };
      patch_tile_backward(panels, dy + row * channels, channels, inner(m), count, inner(plan.dm),
                          dx == nullptr ? nullptr : dx + row * channels, channels);
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
