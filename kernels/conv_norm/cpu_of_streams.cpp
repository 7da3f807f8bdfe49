/// Half a residual block at the next time step of many streams, each under the patches of its task.
///
/// A tile of streams passes through the convolution together, so that the frozen weights are read
/// once for all of them; then each run of streams with the same task goes through its patch. The
/// rows of earlier time steps are read where they are. 2 K C^2 + 4 C D FLOPs a stream; the patch of
/// a task, 2 C D + C + D elements, is read once for each of its runs.

#include "kernels/causal_conv/taps.hpp"
#include "kernels/conv_norm/norm_rows.hpp"
#include "kernels/kernel.hpp"
#include "refrain/kernels/conv_norm.hpp"

namespace refrain::kernels::cpu {
namespace {

template <class T>
struct Plan {
  WeightPanels<T> weights;
  std::int64_t widest = 0;  ///< D of the widest patch
  std::int64_t piece;       ///< elements of a packed `down`
  std::int64_t packed = 0;  ///< elements of a packed patch
  T* tile;                  ///< per worker [tile_rows, C]
  T* hidden;                ///< per worker [tile_rows, D]
  T* patches;               ///< per worker a packed patch

  Plan(const ConvNormOfStreams& args, Scratch& scratch)
      : weights(WeightPanels<T>::plan(args.w.as<T>(), args.w.shape[0] * args.w.shape[1],
                                      args.w.shape[2], args.x.shape[0], scratch)) {
    const std::int64_t channels = args.w.shape[2];
    bool in_place = Panels<T>::fits_row_major(channels);
    for (const HalfOfTask* const half : args.tasks) {
      widest = std::max(widest, half->bottleneck);
      in_place = in_place && Panels<T>::fits_row_major(half->bottleneck);
    }
    piece = packed_size<T>(channels, widest);
    if (!in_place) packed = piece + packed_size<T>(widest, channels);
    tile = scratch.take<T>(threads() * tile_rows * channels);
    hidden = scratch.take<T>(threads() * tile_rows * widest);
    patches = scratch.take<T>(threads() * packed);
  }
};

template <class T>
PatchSegment<T> patch_of(const HalfOfTask& half) {
  return {.bottleneck = half.bottleneck,
          .down = static_cast<const T*>(half.down),
          .down_bias = static_cast<const T*>(half.down_bias),
          .up = static_cast<const T*>(half.up),
          .up_bias = static_cast<const T*>(half.up_bias)};
}

/// The patches of a tile of streams, h [count,C] after the convolution of x [count,C].
template <class T>
class TilePatches {
 public:
  TilePatches(const Plan<T>& plan, std::int64_t channels, int worker)
      : channels_(channels),
        hidden_(plan.hidden + worker * tile_rows * plan.widest),
        down_(plan.packed > 0 ? plan.patches + worker * plan.packed : nullptr),
        up_(plan.packed > 0 ? down_ + plan.piece : nullptr) {}

  void apply(const HalfOfTask* const* tasks, std::int64_t count, const T* x, T* h) {
    for (std::int64_t first = 0, past = 0; first < count; first = past) {
      const HalfOfTask& half = *tasks[first];
      for (past = first + 1; past < count && tasks[past] == &half;) ++past;
      if (half.bottleneck == 0) continue;
      const std::int64_t streams = past - first;
      const T* from = x + first * channels_;
      T* const to = h + first * channels_;
      if (half.insertion == Insertion::serial) {
        from = to;
      } else {
        add_row(to, from, streams * channels_);
      }
      const bool in_place =
          Panels<T>::fits_row_major(half.bottleneck) && Panels<T>::fits_row_major(channels_);
      if (in_place && streams <= max_side_by_side) {
        for (std::int64_t i = 0; i < streams; ++i)
          put_side_by_side({patch_of<T>(half), from + i * channels_, to + i * channels_});
      } else {
        patch_tile<T>(forward_panels(patch_of<T>(half), channels_, true, down_, up_), from,
                      channels_, streams, nullptr, hidden_, to, channels_);
      }
    }
    finish_side_by_side();
  }

 private:
  /// The longest run of streams of a task whose rows are computed side by side with those of other
  /// tasks.
  static constexpr std::int64_t max_side_by_side = 2;

  void put_side_by_side(const PatchedRow<T>& row) {
    if (waiting_ > 0 && rows_[0].patch.bottleneck != row.patch.bottleneck) finish_side_by_side();
    rows_[waiting_++] = row;
  }
  void finish_side_by_side() {
    if (waiting_ > 0) patch_rows(rows_, waiting_, channels_, hidden_);
    waiting_ = 0;
  }

  std::int64_t channels_;
  T* hidden_;
  T* down_;
  T* up_;
  std::int64_t waiting_ = 0;
  PatchedRow<T> rows_[extent(tile_rows)];
};

template <class T>
void forward(const ConvNormOfStreams& args, Scratch& scratch) {
  const std::int64_t streams = args.x.shape[0], channels = args.x.shape[1];
  const ConvExtents conv = conv_extents({streams, 1, channels}, args.w.shape, 1, Padding::causal);
  const Plan<T> plan(args, scratch);
  if (scratch.is_counting()) return;
  if (plan.weights.packed) pack_taps(args.w.as<T>(), conv, false, plan.weights.storage());
  const std::int64_t step =
      product_rows_per_task(streams, conv.multiply_adds() + 2 * channels * plan.widest);
  parallel_tasks((streams + step - 1) / step, [&](std::int64_t task, int worker) {
    T* const h = plan.tile + worker * tile_rows * channels;
    TilePatches<T> patches(plan, channels, worker);
    const std::int64_t end = std::min(streams, (task + 1) * step);
    for (std::int64_t row = task * step; row < end; row += tile_rows) {
      const std::int64_t count = std::min<std::int64_t>(tile_rows, end - row);
      const T* const x = args.x.as<T>() + row * channels;
      const void* const* const before = args.before.data() + row * (conv.taps - 1);
      const HalfOfTask* const* const tasks = args.tasks.data() + row;
      taps_tile(conv.taps, channels, plan.weights, channels, count, h, channels,
                Start<T>::row(args.bias.as<T>()), [&](std::int64_t tap, std::int64_t i) {
                  if (tap == 0) return x + i * channels;
                  return static_cast<const T*>(before[i * (conv.taps - 1) + tap - 1]);
                });
      patches.apply(tasks, count, x, h);
      for (std::int64_t i = 0; i < count; ++i) {
        const auto own = [](const void* of_task, const View& of_block) {
          return of_task != nullptr ? static_cast<const T*>(of_task) : of_block.as<T>();
        };
        const NormWeights<T> norm(own(tasks[i]->gamma, args.gamma), own(tasks[i]->beta, args.beta));
        normalize_row<T>(norm, args.epsilon, channels, h + i * channels,
                         {row_of<T>(args.residual, row + i, channels),
                          row_of<T>(args.y, row + i, channels), nullptr, nullptr});
      }
    }
  });
}

}  // namespace

template <>
void kernel(const ConvNormOfStreams& args, Scratch& scratch) {
  for_floating<ConvNormOfStreams>(args.x.dtype, [&]<class T>(T) { forward<T>(args, scratch); });
}

template void entry(const ConvNormOfStreams&, ScratchMemory&);

}  // namespace refrain::kernels::cpu
