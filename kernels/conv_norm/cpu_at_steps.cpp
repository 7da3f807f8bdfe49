/// Half a residual block at chosen time steps of each sequence: cpu.cpp with a table of the row
/// that each tap reads.
///
/// Every output row, and every row of dx, is a sum over taps of other rows, so both directions are
/// products over tables of rows:
///   forward    h[b,s] = sum_k x[b, taps_at[s,k]] w[k]
///   backward   dx[b,t] = sum_k dz[b, read_by[t,k]] w[k]^T
///              read_by[t,k]: the s with taps_at[s,k] = t, if there is one
/// 2 K C^2 + 4 C D FLOPs per output row forward.

#include "kernels/causal_conv/taps.hpp"
#include "kernels/conv_norm/norm_rows.hpp"
#include "kernels/kernel.hpp"
#include "refrain/kernels/conv_norm.hpp"

namespace refrain::kernels::cpu {
namespace {

template <class T>
struct ForwardPlan {
  WeightPanels<T> weights;
  T* zeros;
  T* tile;              ///< per worker [tile_rows, C]
  T* own = nullptr;     ///< per worker [tile_rows, C]: the input rows of a parallel patch
  T* hidden = nullptr;  ///< per worker [tile_rows, D]
  PatchSegments<T> segments;
  PatchWeights<T> patch;

  ForwardPlan(const ConvNormAtSteps& args, Scratch& scratch)
      : weights(WeightPanels<T>::plan(args.w.as<T>(), args.w.shape[0] * args.w.shape[1],
                                      args.w.shape[2], args.y.shape.rows(), scratch)),
        zeros(scratch.take<T>(args.w.shape[1])),
        tile(scratch.take<T>(threads() * tile_rows * args.w.shape[2])),
        segments(args.patch, args.y.shape[0], scratch) {
    if (args.insertion == Insertion::none) return;
    if (args.insertion == Insertion::parallel)
      own = scratch.take<T>(threads() * tile_rows * args.w.shape[1]);
    patch = PatchWeights<T>(segments, PatchPass::forward, args.y.shape.rows(), scratch);
    hidden = scratch.take<T>(threads() * tile_rows * segments.bottleneck());
  }
};

template <class T>
void forward(const ConvNormAtSteps& args, Scratch& scratch) {
  const ConvExtents conv = conv_extents(args.x.shape, args.w.shape, 1, Padding::causal);
  const std::int64_t channels = conv.out;
  const std::int64_t steps = args.y.shape[1];
  const std::int64_t rows = args.y.shape[0] * steps;
  const std::int64_t residual_steps = args.residual ? args.residual.shape[1] : 0;
  ForwardPlan<T> plan(args, scratch);
  if (scratch.is_counting()) return;
  if (plan.weights.packed) pack_taps(args.w.as<T>(), conv, false, plan.weights.storage());
  std::fill_n(plan.zeros, channels, T(0));
  plan.segments.fill();
  plan.patch.fill(plan.segments);
  const std::int64_t width = plan.segments.bottleneck();
  const std::int32_t* const taps_at = args.taps_at.as<std::int32_t>();
  const std::int64_t step =
      product_rows_per_task(rows, conv.multiply_adds() + plan.patch.multiply_adds());
  parallel_tasks((rows + step - 1) / step, [&](std::int64_t task, int worker) {
    T* const tile = plan.tile + worker * tile_rows * channels;
    T* const hidden = plan.hidden + worker * tile_rows * width;
    PatchCursor<T> cursor(plan.patch, worker);
    const std::int64_t end = std::min(rows, (task + 1) * step);
    for (std::int64_t row = task * step; row < end; row += tile_rows) {
      const std::int64_t count = std::min<std::int64_t>(tile_rows, end - row);
      const auto x_row = [&](std::int64_t at_row, std::int64_t at) {
        return args.x.as<T>() + (at_row / steps * conv.steps + at) * channels;
      };
      taps_tile(conv.taps, channels, plan.weights, channels, count, tile, channels,
                Start<T>::row(args.bias.as<T>()), [&](std::int64_t tap, std::int64_t i) {
                  const std::int64_t at = taps_at[(row + i) % steps * conv.taps + tap];
                  return at < 0 ? plan.zeros : x_row(row + i, at);
                });
      if (args.conv) std::copy_n(tile, count * channels, args.conv.as<T>() + row * channels);
      const auto patch = [&](const PatchSegment<T>& segment, std::int64_t first, std::int64_t part,
                             T* h) {
        T* const saved = bottleneck_row(args.bottleneck.as<T>(), segment, width, steps, first);
        if (args.insertion == Insertion::serial) {
          patch_tile<T>(cursor.at(segment), h, channels, part, saved, hidden, h, channels);
          return;
        }
        T* const own = plan.own + worker * tile_rows * channels;
        for (std::int64_t i = 0; i < part; ++i) {
          const std::int64_t at = args.own_at.as<std::int32_t>()[(first + i) % steps];
          std::copy_n(x_row(first + i, at), channels, own + i * channels);
        }
        add_row(h, own, part * channels);
        patch_tile<T>(cursor.at(segment), own, channels, part, saved, hidden, h, channels);
      };
      const auto finish = [&](const PatchSegment<T>& segment, std::int64_t first,
                              std::int64_t part) {
        T* const h = tile + (first - row) * channels;
        if (segment.bottleneck > 0) patch(segment, first, part, h);
        const NormWeights<T> norm(args, segment);
        for (std::int64_t i = 0; i < part; ++i) {
          const std::int64_t at_row = first + i;
          const T* residual = nullptr;
          if (args.residual) {
            const std::int64_t at = args.residual_at.as<std::int32_t>()[at_row % steps];
            residual = args.residual.as<T>() + (at_row / steps * residual_steps + at) * channels;
          }
          normalize_row<T>(
              norm, args.epsilon, channels, h + i * channels,
              {residual, row_of<T>(args.y, at_row, channels),
               row_of<T>(args.normalized, at_row, channels), row_of<T>(args.inv_std, at_row, 1)});
        }
      };
      plan.segments.for_parts(row, count, steps, finish);
    }
  });
}

/// inverse[at[s * columns + k] * columns + k] = s, otherwise -1: the output that reads each of
/// `steps` time steps through tap k.
void invert(const View& places, std::int64_t columns, std::int64_t steps, std::int32_t* inverse) {
  std::fill_n(inverse, steps * columns, -1);
  const std::int32_t* const at = places.as<std::int32_t>();
  const std::int64_t count = places.shape[0];
  for (std::int64_t s = 0; s < count; ++s) {
    for (std::int64_t k = 0; k < columns; ++k) {
      const std::int32_t step = at[s * columns + k];
      if (step >= 0) inverse[step * columns + k] = static_cast<std::int32_t>(s);
    }
  }
}

template <class T>
struct BackwardPlan {
  std::int64_t taps, channels;
  ConvNormRowsBackward<T, ConvNormAtStepsBackward> rows;
  WeightPanels<T> weights_t{};      ///< for dx
  T* zeros = nullptr;               ///< [max(C, D)]
  std::int32_t* read_by = nullptr;  ///< [T,K]
  std::int32_t* own_of = nullptr;   ///< [T]
  T* own = nullptr;                 ///< [rows,C]: the input of a parallel patch

  BackwardPlan(const ConvNormAtStepsBackward& args, Scratch& scratch)
      : taps(args.w.shape[0]), channels(args.w.shape[2]), rows(args, ConvNormNeeds(args), scratch) {
    if (args.insertion == Insertion::parallel && args.dpatch.down)
      own = scratch.take<T>(rows.rows * channels);
    if (!args.dx) return;
    weights_t = {scratch.take<T>(packed_size<T>(taps * channels, channels)), true};
    zeros = scratch.take<T>(std::max(channels, rows.segments.bottleneck()));
    read_by = scratch.take<std::int32_t>(args.dx.shape[1] * taps);
    own_of = scratch.take<std::int32_t>(args.dx.shape[1]);
  }
};

/// Computes dx, one tile of rows at a time.
template <class T>
void input_gradient(const ConvNormAtStepsBackward& args, const BackwardPlan<T>& plan) {
  const std::int64_t channels = plan.channels, taps = plan.taps;
  const std::int64_t steps = args.dx.shape[1], chosen = args.dy.shape[1];
  const std::int64_t rows = args.dx.shape[0] * steps;
  pack_taps(args.w.as<T>(), conv_extents(args.dx.shape, args.w.shape, 1, Padding::causal), true,
            plan.weights_t.storage());
  std::fill_n(plan.zeros, std::max(channels, plan.rows.segments.bottleneck()), T(0));
  invert(args.taps_at, taps, steps, plan.read_by);
  if (args.insertion == Insertion::parallel) invert(args.own_at, 1, steps, plan.own_of);
  const std::int64_t step = product_rows_per_task(rows, taps * channels * channels);
  parallel_tasks((rows + step - 1) / step, [&](std::int64_t task, int worker) {
    PatchCursor<T> cursor(plan.rows.patch, worker);
    const std::int64_t end = std::min(rows, (task + 1) * step);
    for (std::int64_t row = task * step; row < end; row += tile_rows) {
      const std::int64_t count = std::min<std::int64_t>(tile_rows, end - row);
      T* const dx = args.dx.as<T>() + row * channels;
      std::int64_t first_of[extent(tile_rows)];  // first output row of each sequence
      std::int64_t step_of[extent(tile_rows)];
      for (std::int64_t i = 0; i < count; ++i) {
        first_of[i] = (row + i) / steps * chosen;
        step_of[i] = (row + i) % steps;
      }
      taps_tile(taps, channels, plan.weights_t, channels, count, dx, channels, Start<T>::zero(),
                [&](std::int64_t tap, std::int64_t i) {
                  const std::int64_t at = plan.read_by[step_of[i] * taps + tap];
                  return at < 0 ? plan.zeros : plan.rows.dz + (first_of[i] + at) * channels;
                });
      if (args.insertion != Insertion::parallel) continue;
      const auto pass = [&](const PatchSegment<T>& segment, std::int64_t first, std::int64_t part) {
        if (segment.bottleneck == 0) return;
        const auto output_row = [&](std::int64_t i) {
          const std::int64_t at = plan.own_of[step_of[first - row + i]];
          return at < 0 ? at : first_of[first - row + i] + at;
        };
        plan.rows.pass_patch(cursor.at(segment), segment, part, plan.zeros, output_row,
                             dx + (first - row) * channels);
      };
      plan.rows.segments.for_parts(row, count, steps, pass);
    }
  });
}

/// to [count, width] = columns [column, column + width) of the rows of x that column `table_column`
/// of `places` names, for output rows from `first`; zeros for -1.
template <class T>
void gather_rows(const View& x, const View& places, std::int64_t table_column, std::int64_t first,
                 std::int64_t count, std::int64_t column, std::int64_t width, T* to) {
  const std::int64_t steps = x.shape[1], channels = x.shape[2];
  const std::int64_t chosen = places.shape[0];
  const std::int64_t table_width = places.shape.rank() == 2 ? places.shape[1] : 1;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t row = first + i;
    const std::int64_t at = places.as<std::int32_t>()[row % chosen * table_width + table_column];
    if (at < 0) {
      std::fill_n(to + i * width, width, T(0));
    } else {
      std::copy_n(x.as<T>() + (row / chosen * steps + at) * channels + column, width,
                  to + i * width);
    }
  }
}

/// dw [K,in,out] = sum over output rows of the input row of tap k (outer) dz. Parallel over taps
/// and blocks of `in`.
template <class T>
void weight_gradient_at(const ConvNormAtStepsBackward& args, const BackwardPlan<T>& plan) {
  constexpr std::int64_t block = 2 * tile_rows;
  constexpr std::int64_t block_rows = 128;
  const std::int64_t channels = plan.channels;
  const std::int64_t blocks = (channels + block - 1) / block;
  parallel_tasks(plan.taps * blocks, [&](std::int64_t task, int) {
    const std::int64_t tap = task / blocks;
    const std::int64_t begin = task % blocks * block;
    const std::int64_t inner = std::min(block, channels - begin);
    T* const out = args.dw.as<T>() + (tap * channels + begin) * channels;
    std::fill_n(out, inner * channels, T(0));
    alignas(64) T read[static_cast<std::size_t>(block * block_rows)];
    for (std::int64_t row = 0; row < plan.rows.rows; row += block_rows) {
      const std::int64_t count = std::min(block_rows, plan.rows.rows - row);
      gather_rows(args.x, args.taps_at, tap, row, count, begin, inner, read);
      sum_of_outer<T>(read, inner, plan.rows.dz + row * channels, channels, count, out, channels,
                      inner, channels);
    }
  });
}

/// The gradient of the residual: dy at the time steps that were read, zero elsewhere.
template <class T>
void residual_gradient(const ConvNormAtStepsBackward& args) {
  const std::int64_t channels = args.dy.shape[2], chosen = args.dy.shape[1],
                     steps = args.dresidual.shape[1];
  const std::int32_t* const places = args.residual_at.as<std::int32_t>();
  parallel_for(args.dy.shape[0],
               std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(1, steps * channels)),
               [&](std::int64_t begin, std::int64_t end) {
                 std::fill_n(args.dresidual.as<T>() + begin * steps * channels,
                             (end - begin) * steps * channels, T(0));
                 for (std::int64_t b = begin; b < end; ++b) {
                   for (std::int64_t s = 0; s < chosen; ++s) {
                     std::copy_n(args.dy.as<T>() + (b * chosen + s) * channels, channels,
                                 args.dresidual.as<T>() + (b * steps + places[s]) * channels);
                   }
                 }
               });
}

template <class T>
void backward(const ConvNormAtStepsBackward& args, Scratch& scratch) {
  BackwardPlan<T> plan(args, scratch);
  if (scratch.is_counting()) return;
  if (args.dresidual) residual_gradient<T>(args);
  if (!args.normalized) return;  // only the residual was recorded
  plan.rows.run(args);
  if (args.dx) input_gradient(args, plan);
  if (args.dw) weight_gradient_at(args, plan);
  if (plan.own != nullptr) {
    parallel_for(plan.rows.rows, 256, [&](std::int64_t begin, std::int64_t end) {
      gather_rows(args.x, args.own_at, 0, begin, end - begin, 0, plan.channels,
                  plan.own + begin * plan.channels);
    });
  }
  plan.rows.patch_gradients(args,
                            args.insertion == Insertion::serial ? args.conv.as<T>() : plan.own);
}

}  // namespace

template <>
void kernel(const ConvNormAtSteps& args, Scratch& scratch) {
  if (args.y.shape.numel() == 0) return;
  for_floating<ConvNormAtSteps>(args.x.dtype, [&]<class T>(T) { forward<T>(args, scratch); });
}

template <>
void kernel(const ConvNormAtStepsBackward& args, Scratch& scratch) {
  for_floating<ConvNormAtStepsBackward>(args.dy.dtype,
                                        [&]<class T>(T) { backward<T>(args, scratch); });
}

template void entry(const ConvNormAtSteps&, ScratchMemory&);
template void entry(const ConvNormAtStepsBackward&, ScratchMemory&);

}  // namespace refrain::kernels::cpu
