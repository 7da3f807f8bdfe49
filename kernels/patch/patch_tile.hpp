#pragma once
/// The patch on a tile of rows, for the patch kernel and the fused residual block.

#include "kernels/patch/patch_segments.hpp"
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
};

/// The pass whose products read the weights of a patch: forward as they are, backward transposed.
enum class PatchPass : std::uint8_t { forward, backward };

/// The panels of a patch for the forward pass. With `in_place`, matrices whose rows are whole
/// vectors are read where they are; the others are packed, `down` to `first` and `up` to `second`.
template <class T>
PatchPanels<T> forward_panels(const PatchSegment<T>& segment, std::int64_t channels, bool in_place,
                              T* first, T* second) {
  const std::int64_t width = segment.bottleneck;
  const bool down_in_place = in_place && Panels<T>::fits_row_major(width);
  const bool up_in_place = in_place && Panels<T>::fits_row_major(channels);
  if (!down_in_place) pack<T>(segment.down, width, 1, channels, width, 0, channels, first);
  if (!up_in_place) pack<T>(segment.up, channels, 1, width, channels, 0, width, second);
  return {.channels = channels,
          .bottleneck = width,
          .down = {down_in_place ? segment.down : first, !down_in_place},
          .up = {up_in_place ? segment.up : second, !up_in_place},
          .down_bias = segment.down_bias,
          .up_bias = segment.up_bias};
}

/// The panels of the patches of a batch. One patch is packed once for all workers. Of a bank, a
/// worker packs a patch when it comes to its rows, which then find it in the first-level cache.
template <class T>
class PatchWeights {
 public:
  PatchWeights() = default;

  /// `rows`: rows of the batch.
  PatchWeights(const PatchSegments<T>& segments, PatchPass pass, std::int64_t rows,
               Scratch& scratch)
      : is_bank_(segments.is_bank()),
        pass_(pass),
        channels_(segments.channels()),
        widest_(segments.bottleneck()),
        in_place_(pass == PatchPass::forward && (is_bank_ || rows <= max_unpacked_rows)),
        piece_(packed_size<T>(channels_, widest_)) {
    const std::int64_t copies = is_bank_ ? threads() : 1;
    size_ = piece_ + packed_size<T>(widest_, channels_);
    if (!in_place_ || is_bank_ || !Panels<T>::fits_row_major(widest_) ||
        !Panels<T>::fits_row_major(channels_)) {
      storage_ = scratch.take<T>(copies * size_);
    }
  }

  /// Packs the patch of a batch without a bank.
  void fill(const PatchSegments<T>& segments) {
    if (!is_bank_ && segments.bottleneck() > 0) single_ = panels(segments[0], storage_);
  }

  std::int64_t multiply_adds() const { return 2 * channels_ * widest_; }

  /// The panels of a segment, which are valid until the worker asks for another segment's.
  PatchPanels<T> of(const PatchSegment<T>& segment, int worker) const {
    return is_bank_ ? panels(segment, storage_ + worker * size_) : single_;
  }

 private:
  PatchPanels<T> panels(const PatchSegment<T>& segment, T* storage) const {
    T* const second = storage == nullptr ? nullptr : storage + piece_;
    if (pass_ == PatchPass::forward)
      return forward_panels(segment, channels_, in_place_, storage, second);
    const std::int64_t width = segment.bottleneck;
    pack<T>(segment.up, 1, channels_, channels_, width, 0, channels_, storage);
    pack<T>(segment.down, 1, width, width, channels_, 0, width, second);
    return {.channels = channels_,
            .bottleneck = width,
            .down_t = {second, true},
            .up_t = {storage, true},
            .down_bias = segment.down_bias,
            .up_bias = segment.up_bias};
  }

  bool is_bank_ = false;
  PatchPass pass_ = PatchPass::forward;
  std::int64_t channels_ = 0;
  std::int64_t widest_ = 0;
  bool in_place_ = false;
  std::int64_t piece_ = 0;  ///< elements of the first packed matrix
  std::int64_t size_ = 0;   ///< elements of both
  T* storage_ = nullptr;
  PatchPanels<T> single_{};
};

/// The panels of one worker's segments: packs those of a bank once while the rows stay in one
/// segment.
template <class T>
class PatchCursor {
 public:
  PatchCursor(const PatchWeights<T>& weights, int worker) : weights_(weights), worker_(worker) {}

  const PatchPanels<T>& at(const PatchSegment<T>& segment) {
    if (segment_ != &segment) {
      panels_ = weights_.of(segment, worker_);
      segment_ = &segment;
    }
    return panels_;
  }

 private:
  const PatchWeights<T>& weights_;
  int worker_;
  const PatchSegment<T>* segment_ = nullptr;
  PatchPanels<T> panels_{};
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

/// GELU of rows, one at a time: vectors and single elements round differently.
template <class T>
void gelu_rows(T* rows, std::int64_t count, std::int64_t width) {
  for (std::int64_t i = 0; i < count; ++i) {
    T* const m = rows + i * width;
    for_lanes<T>(width,
                 [&]<class L>(L, std::int64_t d) { L::store(m + d, gelu<T>(L::load(m + d))); });
  }
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
  gelu_rows(hidden, count, width);
  dense_tile(hidden, width, width, patch.up, patch.channels, count, out, stride,
             Start<T>::rows(out, stride));
  for (std::int64_t i = 0; i < count; ++i) add_row(out + i * stride, patch.up_bias, patch.channels);
}

/// A row with a patch of its own.
template <class T>
struct PatchedRow {
  PatchSegment<T> patch;
  const T* x;
  T* out;  ///< already holds the skip connection
};

/// patch_tile() of up to tile_rows rows whose patches have the same bottleneck, a multiple of the
/// vector length as the channels are. hidden: [tile_rows, D] scratch.
template <class T>
void patch_rows(const PatchedRow<T>* rows, std::int64_t count, std::int64_t channels, T* hidden) {
  const std::int64_t width = rows[0].patch.bottleneck;
  OwnProduct<T> products[extent(tile_rows)];
  for (std::int64_t i = 0; i < count; ++i) {
    const PatchSegment<T>& patch = rows[i].patch;
    products[i] = {rows[i].x, patch.down, patch.down_bias, hidden + i * width};
  }
  own_products(products, count, channels, width);
  gelu_rows(hidden, count, width);
  for (std::int64_t i = 0; i < count; ++i)
    products[i] = {hidden + i * width, rows[i].patch.up, rows[i].out, rows[i].out};
  own_products(products, count, width, channels);
  for (std::int64_t i = 0; i < count; ++i) add_row(rows[i].out, rows[i].patch.up_bias, channels);
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

}  // namespace refrain::kernels::cpu
