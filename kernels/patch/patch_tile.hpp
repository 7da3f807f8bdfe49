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
    const std::int64_t width = segment.bottleneck;
    PatchPanels<T> made{.channels = channels_,
                        .bottleneck = width,
                        .down_bias = segment.down_bias,
                        .up_bias = segment.up_bias};
    T* const second = storage == nullptr ? nullptr : storage + piece_;
    if (pass_ == PatchPass::backward) {
      pack<T>(segment.up, 1, channels_, channels_, width, 0, channels_, storage);
      pack<T>(segment.down, 1, width, width, channels_, 0, width, second);
      made.up_t = {storage, true};
      made.down_t = {second, true};
      return made;
    }
    const bool down_in_place = in_place_ && Panels<T>::fits_row_major(width);
    const bool up_in_place = in_place_ && Panels<T>::fits_row_major(channels_);
    if (!down_in_place) pack<T>(segment.down, width, 1, channels_, width, 0, channels_, storage);
    if (!up_in_place) pack<T>(segment.up, channels_, 1, width, channels_, 0, width, second);
    made.down = {down_in_place ? segment.down : storage, !down_in_place};
    made.up = {up_in_place ? segment.up : second, !up_in_place};
    return made;
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

}  // namespace refrain::kernels::cpu
