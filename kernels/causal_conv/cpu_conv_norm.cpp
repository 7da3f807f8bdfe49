/// Half a residual block on the CPU: convolution, patch, LayerNorm, ReLU and residual in one pass.
///
/// forward, per tile of tile_rows rows (all channels), in first-level cache:
///   h = sum of taps + bias -> patch -> mean and variance -> normalise -> ReLU -> + residual -> y
/// backward:
///   1. per row: dh through ReLU and normalisation, dm through the patch, dz = gradient at the convolution's output
///   2. dx: the convolution's adjoint over dz, plus what a parallel patch passes on
///   3. weight gradients, only those asked for
/// 2 K C^2 + 4 C D FLOPs per row forward; x, y, residual and the saved tensors pass through memory once.

#include <cmath>
#include <optional>

#include "kernels/adapter/patch_tile.hpp"
#include "kernels/cpu.hpp"

namespace refrain::kernels::cpu {
namespace {

template <class T>
struct ForwardPlan {
  TapPanels<T> weights;
  T* zeros;
  T* tile;              ///< per worker [tile_rows, C]
  T* hidden = nullptr;  ///< per worker [tile_rows, D]
  PatchPanels<T> patch;

  ForwardPlan(const ConvNormForward& args, const ConvExtents& conv, Scratch& scratch)
      : weights(TapPanels<T>::plan(args.w.as<T>(), conv.taps * conv.in, conv.out, conv.rows(), scratch)),
        zeros(scratch.take<T>(conv.in)),
        tile(scratch.take<T>(threads() * tile_rows * conv.out)) {
    if (args.insertion == Insertion::none) return;
    patch = PatchPanels<T>(args.patch, false, conv.rows(), scratch);
    hidden = scratch.take<T>(threads() * tile_rows * patch.bottleneck);
  }
};

ConvExtents extents_of(const ConvNormForward& args) {
  return conv_extents(args.x.shape, args.w.shape, args.dilation, args.padding);
}

/// What one row is given and gives; null: not wanted.
template <class T>
struct RowEnds {
  const T* residual;
  T* y;
  T* normalized;
  T* inv_std;
};

/// relu(gamma * normalized + beta) (+ residual) of one row h.
template <class T, class Args>
void normalise_row(const Args& args, std::int64_t channels, const T* h, const RowEnds<T>& ends) {
  const T size = static_cast<T>(channels);
  const T mean = sum_lanes<T>(channels, [&]<class L>(L, std::int64_t c) { return L::load(h + c); }) / size;
  const T variance = sum_lanes<T>(channels,
                                  [&]<class L>(L, std::int64_t c) {
                                    const typename L::Vector centred = L::load(h + c) - mean;
                                    return centred * centred;
                                  }) /
                     size;
  const T inv_std = 1 / std::sqrt(variance + static_cast<T>(args.epsilon));
  const T* const gamma = args.gamma.template as<T>();
  const T* const beta = args.beta.template as<T>();
  for_lanes<T>(channels, [&]<class L>(L, std::int64_t c) {
    const typename L::Vector n = (L::load(h + c) - mean) * inv_std;
    if (ends.normalized != nullptr) L::store(ends.normalized + c, n);
    const typename L::Vector scaled = L::load(gamma + c) * n + L::load(beta + c);
    typename L::Vector out = scaled < 0 ? L::broadcast(0) : scaled;
    if (ends.residual != nullptr) out += L::load(ends.residual + c);
    L::store(ends.y + c, out);
  });
  if (ends.inv_std != nullptr) *ends.inv_std = inv_std;
}

/// Row `row` of a tensor, or null when there is none.
template <class T, class AnyView>
auto row_of(const AnyView& view, std::int64_t row, std::int64_t width) {
  auto* const first = view.template as<T>();
  return first == nullptr ? first : first + row * width;
}

template <class T>
void forward(const ConvNormForward& args) {
  const ConvExtents conv = extents_of(args);
  const std::int64_t channels = conv.out;
  Scratch scratch(args.workspace.data);
  const ForwardPlan<T> plan(args, conv, scratch);
  if (plan.weights.packed) pack_taps(args.w.as<T>(), conv, false, plan.weights.room());
  std::fill_n(plan.zeros, channels, T(0));
  if (args.insertion != Insertion::none) plan.patch.fill(args.patch);
  const std::int64_t width = plan.patch.bottleneck;
  const std::int64_t step = rows_per_task(conv.rows(), conv.multiply_adds() + plan.patch.multiply_adds());
  parallel_tasks((conv.rows() + step - 1) / step, [&](std::int64_t task, int worker) {
    T* const h = plan.tile + worker * tile_rows * channels;
    const std::int64_t end = std::min(conv.rows(), (task + 1) * step);
    for (std::int64_t row = task * step; row < end; row += tile_rows) {
      const std::int64_t count = std::min<std::int64_t>(tile_rows, end - row);
      conv_tile(args.x.as<T>(), channels, plan.weights, channels, conv, false, plan.zeros, row, count, h, channels);
      for (std::int64_t i = 0; i < count; ++i) add_row(h + i * channels, args.bias.as<T>(), channels);
      if (args.conv) std::copy_n(h, count * channels, args.conv.as<T>() + row * channels);
      if (args.insertion != Insertion::none) {
        T* const hidden = plan.hidden + worker * tile_rows * width;
        T* const saved = args.bottleneck ? args.bottleneck.as<T>() + row * width : nullptr;
        const T* const x = args.x.as<T>() + row * channels;
        if (args.insertion == Insertion::serial) {
          patch_tile(plan.patch, h, channels, count, saved, hidden, h, channels);
        } else {
          add_row(h, x, count * channels);
          patch_tile(plan.patch, x, channels, count, saved, hidden, h, channels);
        }
      }
      for (std::int64_t i = 0; i < count; ++i) {
        normalise_row<T>(args, channels, h + i * channels,
                         {row_of<T>(args.residual, row + i, channels), row_of<T>(args.y, row + i, channels),
                          row_of<T>(args.normalized, row + i, channels), row_of<T>(args.inv_std, row + i, 1)});
      }
    }
  });
}

template <class T>
struct AtStepsPlan {
  TapPanels<T> weights;
  T* zeros;
  T* tile;              ///< per worker [tile_rows, C]
  T* own = nullptr;     ///< per worker [tile_rows, C]: the rows that a parallel patch sees
  T* hidden = nullptr;  ///< per worker [tile_rows, D]
  PatchPanels<T> patch;

  AtStepsPlan(const ConvNormAtSteps& args, Scratch& scratch)
      : weights(TapPanels<T>::plan(args.w.as<T>(), args.w.shape[0] * args.w.shape[1], args.w.shape[2], args.y.shape.rows(),
                                   scratch)),
        zeros(scratch.take<T>(args.w.shape[1])),
        tile(scratch.take<T>(threads() * tile_rows * args.w.shape[2])) {
    if (args.insertion == Insertion::none) return;
    if (args.insertion == Insertion::parallel) own = scratch.take<T>(threads() * tile_rows * args.w.shape[1]);
    patch = PatchPanels<T>(args.patch, false, args.y.shape.rows(), scratch);
    hidden = scratch.take<T>(threads() * tile_rows * patch.bottleneck);
  }
};

template <class T>
void forward_at_steps(const ConvNormAtSteps& args) {
  const ConvExtents conv = conv_extents(args.x.shape, args.w.shape, 1, Padding::causal);
  const std::int64_t channels = conv.out;
  const std::int64_t steps = args.y.shape[1];
  const std::int64_t rows = args.y.shape[0] * steps;
  const std::int64_t residual_steps = args.residual ? args.residual.shape[1] : 0;
  Scratch scratch(args.workspace.data);
  const AtStepsPlan<T> plan(args, scratch);
  if (plan.weights.packed) pack_taps(args.w.as<T>(), conv, false, plan.weights.room());
  std::fill_n(plan.zeros, channels, T(0));
  if (args.insertion != Insertion::none) plan.patch.fill(args.patch);
  const std::int32_t* const taps_at = args.taps_at.as<std::int32_t>();
  const std::int64_t step = rows_per_task(rows, conv.multiply_adds() + plan.patch.multiply_adds());
  parallel_tasks((rows + step - 1) / step, [&](std::int64_t task, int worker) {
    T* const h = plan.tile + worker * tile_rows * channels;
    const std::int64_t end = std::min(rows, (task + 1) * step);
    for (std::int64_t row = task * step; row < end; row += tile_rows) {
      const std::int64_t count = std::min<std::int64_t>(tile_rows, end - row);
      const auto x_row = [&](std::int64_t i, std::int64_t at) {
        return args.x.as<T>() + ((row + i) / steps * conv.steps + at) * channels;
      };
      taps_tile(conv.taps, channels, plan.weights, channels, count, h, channels, [&](std::int64_t tap, std::int64_t i) {
        const std::int64_t at = taps_at[(row + i) % steps * conv.taps + tap];
        return at < 0 ? plan.zeros : x_row(i, at);
      });
      for (std::int64_t i = 0; i < count; ++i) add_row(h + i * channels, args.bias.as<T>(), channels);
      T* const hidden = plan.hidden + worker * tile_rows * plan.patch.bottleneck;
      if (args.insertion == Insertion::serial) {
        patch_tile<T>(plan.patch, h, channels, count, nullptr, hidden, h, channels);
      } else if (args.insertion == Insertion::parallel) {
        T* const own = plan.own + worker * tile_rows * channels;
        for (std::int64_t i = 0; i < count; ++i) {
          std::copy_n(x_row(i, args.own_at.as<std::int32_t>()[(row + i) % steps]), channels, own + i * channels);
        }
        add_row(h, own, count * channels);
        patch_tile<T>(plan.patch, own, channels, count, nullptr, hidden, h, channels);
      }
      for (std::int64_t i = 0; i < count; ++i) {
        const T* residual = nullptr;
        if (args.residual) {
          const std::int64_t at = args.residual_at.as<std::int32_t>()[(row + i) % steps];
          residual = args.residual.as<T>() + ((row + i) / steps * residual_steps + at) * channels;
        }
        normalise_row<T>(args, channels, h + i * channels, {residual, row_of<T>(args.y, row + i, channels), nullptr, nullptr});
      }
    }
  });
}

/// What the gradients asked for make necessary.
struct Needs {
  bool patch, below, dm, weights;

  explicit Needs(const ConvNormBackward& args)
      : patch(args.insertion != Insertion::none),
        below(args.dx || args.dw || args.dbias),
        dm(patch && (args.dpatch.down || args.dpatch.down_bias || (below && (args.insertion == Insertion::serial || args.dx)))),
        weights(patch && (args.dpatch.down || args.dpatch.down_bias || args.dpatch.up || args.dpatch.up_bias)) {}
};

template <class T>
struct BackwardPlan {
  T* dh;                      ///< [rows,C] gradient before the normalisation
  T* dz = nullptr;            ///< [rows,C] gradient at the convolution's output; dh itself unless a serial patch lies between
  T* dm = nullptr;            ///< [rows,D]
  T* norm_partial = nullptr;  ///< [blocks, 2C]: dgamma, dbeta
  T* bias_partial = nullptr;
  TapPanels<T> weights_t{};  ///< for dx
  T* zeros = nullptr;
  PatchPanels<T> patch;
  std::optional<PatchWeightGradient<T>> weights;

  BackwardPlan(const ConvNormBackward& args, const ConvExtents& conv, const Needs& needs, Scratch& scratch)
      : dh(scratch.take<T>(conv.rows() * conv.out)) {
    const bool between = needs.patch && args.insertion == Insertion::serial && needs.below;
    dz = between ? scratch.take<T>(conv.rows() * conv.out) : dh;
    if (args.dgamma || args.dbeta) norm_partial = scratch.take<T>(sum_blocks(conv.rows()) * 2 * conv.out);
    if (args.dbias) bias_partial = scratch.take<T>(sum_blocks(conv.rows()) * conv.out);
    if (args.dx) {
      weights_t = {scratch.take<T>(packed_size<T>(conv.taps * conv.out, conv.in)), true};
      zeros = scratch.take<T>(conv.out);
    }
    if (needs.patch) {
      patch = PatchPanels<T>(args.patch, true, conv.rows(), scratch);
      if (needs.dm) dm = scratch.take<T>(conv.rows() * patch.bottleneck);
    }
    if (needs.weights) weights.emplace(args.dpatch, conv.rows(), conv.out, patch.bottleneck, scratch);
  }
};

ConvExtents extents_of(const ConvNormBackward& args) {
  return conv_extents(args.dy.shape, args.w.shape, args.dilation, args.padding);
}

/// dh = inv_std * (g - mean(g) - normalized * mean(g * normalized)),  g = gamma * dy where the ReLU was open; adds to dgamma, dbeta.
template <class T>
void normalise_row_backward(const ConvNormBackward& args, std::int64_t row, std::int64_t channels, T* dh, T* dgamma, T* dbeta) {
  const T* const gamma = args.gamma.as<T>();
  const T* const beta = args.beta.as<T>();
  const T* const n = args.normalized.as<T>() + row * channels;
  const T* const dy = args.dy.as<T>() + row * channels;
  const T inv_std = args.inv_std.as<T>()[row];
  const T size = static_cast<T>(channels);
  const T mean = sum_lanes<T>(channels,
                              [&]<class L>(L, std::int64_t c) {
                                using Vector = typename L::Vector;
                                const Vector scale = L::load(gamma + c);
                                const Vector unit = L::load(n + c);
                                const Vector open = scale * unit + L::load(beta + c) > 0 ? L::load(dy + c) : L::broadcast(0);
                                if (dgamma != nullptr) {
                                  L::store(dgamma + c, L::load(dgamma + c) + open * unit);
                                  L::store(dbeta + c, L::load(dbeta + c) + open);
                                }
                                const Vector g = open * scale;
                                L::store(dh + c, g);
                                return g;
                              }) /
                 size;
  const T along = sum_lanes<T>(channels, [&]<class L>(L, std::int64_t c) { return L::load(dh + c) * L::load(n + c); }) / size;
  for_lanes<T>(channels, [&]<class L>(L, std::int64_t c) {
    L::store(dh + c, inv_std * (L::load(dh + c) - mean - L::load(n + c) * along));
  });
}

template <class T>
void backward(const ConvNormBackward& args) {
  const ConvExtents conv = extents_of(args);
  const Needs needs(args);
  const std::int64_t channels = conv.out;
  const std::int64_t rows = conv.rows();
  Scratch scratch(args.workspace.data);
  const BackwardPlan<T> plan(args, conv, needs, scratch);
  if (needs.patch) plan.patch.fill(args.patch);
  const std::int64_t width = plan.patch.bottleneck;
  const T* const m = args.bottleneck.as<T>();

  parallel_tasks(sum_blocks(rows), [&](std::int64_t block, int) {
    T* const dgamma = plan.norm_partial == nullptr ? nullptr : plan.norm_partial + block * 2 * channels;
    T* const dbeta = dgamma == nullptr ? nullptr : dgamma + channels;
    if (dgamma != nullptr) std::fill_n(dgamma, 2 * channels, T(0));
    const std::int64_t end = std::min(rows, (block + 1) * sum_block);
    for (std::int64_t row = block * sum_block; row < end; row += tile_rows) {
      const std::int64_t count = std::min<std::int64_t>(tile_rows, end - row);
      T* const dh = plan.dh + row * channels;
      for (std::int64_t i = 0; i < count; ++i) {
        normalise_row_backward(args, row + i, channels, dh + i * channels, dgamma, dbeta);
      }
      if (plan.dm == nullptr) continue;
      T* dz = nullptr;
      if (plan.dz != plan.dh) {
        dz = plan.dz + row * channels;
        std::copy_n(dh, count * channels, dz);
      }
      patch_tile_backward(plan.patch, dh, channels, m + row * width, count, plan.dm + row * width, dz, channels);
    }
  });
  if (args.dgamma) sum_partials(plan.norm_partial, sum_blocks(rows), 2 * channels, channels, args.dgamma.as<T>());
  if (args.dbeta) sum_partials(plan.norm_partial + channels, sum_blocks(rows), 2 * channels, channels, args.dbeta.as<T>());

  if (args.dx) {
    pack_taps(args.w.as<T>(), conv, true, plan.weights_t.room());
    std::fill_n(plan.zeros, channels, T(0));
    parallel_for(rows, rows_per_task(rows, conv.multiply_adds()), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; row += tile_rows) {
        const std::int64_t count = std::min<std::int64_t>(tile_rows, end - row);
        T* const dx = args.dx.as<T>() + row * channels;
        conv_tile(plan.dz, channels, plan.weights_t, channels, conv, true, plan.zeros, row, count, dx, channels);
        if (args.insertion != Insertion::parallel) continue;
        add_row(dx, plan.dh + row * channels, count * channels);
        dense_tile(plan.dm + row * width, width, width, plan.patch.down_t, channels, count, dx, channels, true);
      }
    });
  }
  if (args.dw) weight_gradient(args.x.as<T>(), plan.dz, conv, args.dw.as<T>());
  if (args.dbias) sum_rows_blocked(plan.dz, rows, channels, plan.bias_partial, args.dbias.as<T>());
  if (needs.weights) {
    plan.weights->run(args.insertion == Insertion::serial ? args.conv.as<T>() : args.x.as<T>(), m, plan.dm, plan.dh);
  }
}

}  // namespace

void conv_norm_forward(const ConvNormForward& args, Stream) {
  for_floating<ConvNormForward>(args.x.dtype, [&]<class T>(T) { forward<T>(args); });
}

std::size_t conv_norm_forward_workspace(const ConvNormForward& args) {
  Scratch scratch(nullptr);
  for_floating<ConvNormForward>(args.x.dtype, [&]<class T>(T) { ForwardPlan<T>(args, extents_of(args), scratch); });
  return scratch.bytes();
}

void conv_norm_at_steps(const ConvNormAtSteps& args, Stream) {
  if (args.y.shape.numel() == 0) return;
  for_floating<ConvNormAtSteps>(args.x.dtype, [&]<class T>(T) { forward_at_steps<T>(args); });
}

std::size_t conv_norm_at_steps_workspace(const ConvNormAtSteps& args) {
  Scratch scratch(nullptr);
  for_floating<ConvNormAtSteps>(args.x.dtype, [&]<class T>(T) { AtStepsPlan<T>(args, scratch); });
  return scratch.bytes();
}

void conv_norm_backward(const ConvNormBackward& args, Stream) {
  for_floating<ConvNormBackward>(args.dy.dtype, [&]<class T>(T) { backward<T>(args); });
}

std::size_t conv_norm_backward_workspace(const ConvNormBackward& args) {
  Scratch scratch(nullptr);
  for_floating<ConvNormBackward>(args.dy.dtype,
                                 [&]<class T>(T) { BackwardPlan<T>(args, extents_of(args), Needs(args), scratch); });
  return scratch.bytes();
}

}  // namespace refrain::kernels::cpu
