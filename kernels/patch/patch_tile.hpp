#pragma once
/// The patch on a tile of rows, for the patch kernel and the fused residual block.

#include "kernels/scratch.hpp"
#include "kernels/tiling/gemm.hpp"
#include "kernels/tiling/row_sums.hpp"
#include "refrain/kernels/patch.hpp"

namespace refrain::kernels::cpu {

/// The weights of a patch in the layout that products read; C channels, bottleneck D.
template <class T>
struct PatchPanels {
  std::int64_t channels = 0;
  std::int64_t bottleneck = 0;
  WeightPanels<T> down{};    ///< for x down
  WeightPanels<T> up{};      ///< for m up
  WeightPanels<T> down_t{};  ///< for dm down^T
  WeightPanels<T> up_t{};    ///< for dy up^T
  const T* down_bias = nullptr;
  const T* up_bias = nullptr;

  PatchPanels() = default;

  /// Reserves memory for the packed forward (or transposed, backward) weights, if `rows` rows
  /// justify packing.
  PatchPanels(const PatchViews& patch, bool backward, std::int64_t rows, Scratch& scratch)
      : channels(patch.down.shape[0]),
        bottleneck(patch.down.shape[1]),
        down_bias(patch.down_bias.as<T>()),
        up_bias(patch.up_bias.as<T>()) {
    if (backward) {
      up_t = {scratch.take<T>(packed_size<T>(channels, bottleneck)), true};
      down_t = {scratch.take<T>(packed_size<T>(bottleneck, channels)), true};
    } else {
      down = WeightPanels<T>::plan(patch.down.as<T>(), channels, bottleneck, rows, scratch);
      up = WeightPanels<T>::plan(patch.up.as<T>(), bottleneck, channels, rows, scratch);
    }
  }

  std::int64_t multiply_adds() const { return 2 * channels * bottleneck; }

  void fill(const PatchViews& patch) const {
    const T* const w_down = patch.down.as<T>();
    const T* const w_up = patch.up.as<T>();
    if (down.packed)
      pack<T>(w_down, bottleneck, 1, channels, bottleneck, 0, channels, down.storage());
    if (up.packed) pack<T>(w_up, channels, 1, bottleneck, channels, 0, bottleneck, up.storage());
    if (up_t.packed) pack<T>(w_up, 1, channels, channels, bottleneck, 0, channels, up_t.storage());
    if (down_t.packed)
      pack<T>(w_down, 1, bottleneck, bottleneck, channels, 0, bottleneck, down_t.storage());
  }
};

/// out [count, columns] = start + a [count, depth] B for a tile whose rows are `a_stride` apart.
template <class T>
void dense_tile(const T* a, std::int64_t a_stride, std::int64_t depth,
                const WeightPanels<T>& weights, std::int64_t columns, std::int64_t count, T* out,
                std::int64_t stride, Start<T> start) {
  const T* rows[extent(tile_rows)];
  for (std::int64_t i = 0; i < tile_rows; ++i) rows[i] = a + std::min(i, count - 1) * a_stride;
  rows_product<T>(rows, 1, depth, weights.group(0, depth, columns), columns, count, out, stride,
                  start);
}

/// out += gelu(x down + down_bias) up + up_bias for a tile; `out` already holds the skip
/// connection. saved: [count, D] receives the values before the GELU, or null. hidden: [tile_rows,
/// D] scratch.
template <class T>
void patch_tile(const PatchPanels<T>& patch, const T* x, std::int64_t x_stride, std::int64_t count,
                T* saved, T* hidden, T* out, std::int64_t stride) {
  const std::int64_t width = patch.bottleneck;
  dense_tile(x, x_stride, patch.channels, patch.down, width, count, hidden, width,
             Start<T>::row(patch.down_bias));
  if (saved != nullptr) std::copy_n(hidden, count * width, saved);
  for (std::int64_t i = 0; i < count;
       ++i) {  // one row at a time: vectors and single elements round differently
    T* const m = hidden + i * width;
    for_lanes<T>(width,
                 [&]<class L>(L, std::int64_t d) { L::store(m + d, gelu<T>(L::load(m + d))); });
  }
  dense_tile(hidden, width, width, patch.up, patch.channels, count, out, stride,
             Start<T>::rows(out, stride));
  for (std::int64_t i = 0; i < count; ++i) add_row(out + i * stride, patch.up_bias, patch.channels);
}

/// dm = (dy up^T) * gelu'(m) for a tile; dx += dm down^T unless dx is null.  dm: [count, D].
template <class T>
void patch_tile_backward(const PatchPanels<T>& patch, const T* dy, std::int64_t dy_stride,
                         const T* m, std::int64_t count, T* dm, T* dx, std::int64_t dx_stride) {
  const std::int64_t width = patch.bottleneck;
  dense_tile(dy, dy_stride, patch.channels, patch.up_t, width, count, dm, width, Start<T>::zero());
  for_lanes<T>(count * width, [&]<class L>(L, std::int64_t i) {
    L::store(dm + i, L::load(dm + i) * gelu_derivative<T>(L::load(m + i)));
  });
  if (dx != nullptr)
    dense_tile(dm, width, width, patch.down_t, patch.channels, count, dx, dx_stride,
               Start<T>::rows(dx, dx_stride));
}

/// Weight gradients of a patch from its input x [rows,C], m [rows,D] (before the GELU), dm [rows,D]
/// and dy [rows,C]. The rows are divided into blocks of fixed length whose sums are added in order.
template <class T>
class PatchWeightGradient {
 public:
  static constexpr std::int64_t block = 1024;

  PatchWeightGradient(const PatchGradients& wanted, std::int64_t rows, std::int64_t channels,
                      std::int64_t bottleneck, Scratch& scratch)
      : wanted_(wanted),
        rows_(rows),
        channels_(channels),
        bottleneck_(bottleneck),
        blocks_((rows + block - 1) / block) {
    const std::int64_t weights = blocks_ * channels * bottleneck;
    if (wanted.down) down_ = scratch.take<T>(weights);
    if (wanted.up) up_ = scratch.take<T>(weights);
    if (wanted.up) activated_ = scratch.take<T>(rows * bottleneck);
    if (wanted.down_bias || wanted.up_bias)
      partial_ = scratch.take<T>(sum_blocks(rows) * std::max(channels, bottleneck));
  }

  void run(const T* x, const T* m, const T* dm, const T* dy) const {
    const std::int64_t size = channels_ * bottleneck_;
    parallel_tasks(blocks_, [&](std::int64_t task, int) {
      const std::int64_t begin = task * block;
      const std::int64_t count = std::min(block, rows_ - begin);
      if (down_ != nullptr) {  // transposed, [D,C], so that vectors run along the long axis
        T* const sums = down_ + task * size;
        std::fill_n(sums, size, T(0));
        sum_of_outer<T>(dm + begin * bottleneck_, bottleneck_, x + begin * channels_, channels_,
                        count, sums, channels_, bottleneck_, channels_);
      }
      if (up_ != nullptr) {
        T* const active = activated_ + begin * bottleneck_;
        for_lanes<T>(count * bottleneck_, [&]<class L>(L, std::int64_t i) {
          L::store(active + i, gelu<T>(L::load(m + begin * bottleneck_ + i)));
        });
        T* const sums = up_ + task * size;
        std::fill_n(sums, size, T(0));
        sum_of_outer<T>(active, bottleneck_, dy + begin * channels_, channels_, count, sums,
                        channels_, bottleneck_, channels_);
      }
    });
    if (up_ != nullptr) sum_partials(up_, blocks_, size, size, wanted_.up.as<T>());
    if (down_ != nullptr) {
      T* const out = wanted_.down.as<T>();
      for (std::int64_t c = 0; c < channels_; ++c) {
        for (std::int64_t d = 0; d < bottleneck_; ++d) {
          T sum = 0;
          for (std::int64_t task = 0; task < blocks_; ++task)
            sum += down_[task * size + d * channels_ + c];
          out[c * bottleneck_ + d] = sum;
        }
      }
    }
    if (wanted_.down_bias)
      sum_rows_blocked(dm, rows_, bottleneck_, partial_, wanted_.down_bias.as<T>());
    if (wanted_.up_bias) sum_rows_blocked(dy, rows_, channels_, partial_, wanted_.up_bias.as<T>());
  }

 private:
  PatchGradients wanted_;
  std::int64_t rows_, channels_, bottleneck_, blocks_;
  T* down_ = nullptr;
  T* up_ = nullptr;
  T* activated_ = nullptr;
  T* partial_ = nullptr;
};

}  // namespace refrain::kernels::cpu
