#pragma once
/// Gradients of the weights of patches: sums over the rows of each patch.

#include "kernels/patch/patch_segments.hpp"
#include "kernels/tiling/gemm.hpp"
#include "kernels/tiling/row_sums.hpp"

namespace refrain::kernels::cpu {

/// Weight gradients of the patches from their input x [rows,C], m [rows,D] (before the GELU), dm
/// [rows,D] and dy [rows,C]; m and dm in the layout of bottleneck_row(). The rows of a segment are
/// divided into blocks of fixed length whose sums are added in order.
template <class T>
class PatchWeightGradient {
 public:
  static constexpr std::int64_t block = 1024;

  /// `wanted`: gradients of one patch, or of a bank with a row for each segment with a patch.
  PatchWeightGradient(const PatchGradients& wanted, const PatchSegments<T>& segments,
                      std::int64_t rows_per_sequence, Scratch& scratch)
      : wanted_(wanted),
        segments_(segments),
        rows_per_sequence_(rows_per_sequence),
        channels_(segments.channels()),
        widest_(segments.bottleneck()) {
    const std::int64_t rows = segments.sequences() * rows_per_sequence;
    if (wanted.down || wanted.up) {
      products_ = SegmentBlocks<T>(segments, rows_per_sequence, block, scratch);
      const std::int64_t weights = products_.count() * channels_ * widest_;
      if (wanted.down) down_ = scratch.take<T>(weights);
      if (wanted.down) only_ = scratch.take<T>(threads() * channels_ * widest_);
      if (wanted.up) up_ = scratch.take<T>(weights);
      if (wanted.up) activated_ = scratch.take<T>(rows * widest_);
    }
    if (wanted.down_bias || wanted.up_bias) {
      sums_ = SegmentBlocks<T>(segments, rows_per_sequence, sum_block, scratch);
      partial_ = scratch.take<T>(sums_.count() * std::max(channels_, widest_));
    }
  }

  void run(const T* x, const T* m, const T* dm, const T* dy) const {
    if (wanted_.down || wanted_.up) {
      products_.fill();
      sum_products(x, m, dm, dy);
    }
    if (!wanted_.down_bias && !wanted_.up_bias) return;
    sums_.fill();
    if (wanted_.down_bias) {
      sum_rows(
          wanted_.down_bias, widest_, [](const PatchSegment<T>& at) { return at.bottleneck; },
          [&](const PatchSegment<T>& at, std::int64_t row) { return inner_row(dm, at, row); });
    }
    if (wanted_.up_bias) {
      sum_rows(
          wanted_.up_bias, channels_, [this](const PatchSegment<T>&) { return channels_; },
          [&](const PatchSegment<T>&, std::int64_t row) { return dy + row * channels_; });
    }
  }

 private:
  template <class Element>
  Element* inner_row(Element* tensor, const PatchSegment<T>& segment, std::int64_t row) const {
    return bottleneck_row(tensor, segment, widest_, rows_per_sequence_, row);
  }

  /// Element of the gradient of a segment in `wanted`, whose rows have `size` elements.
  T* gradient_of(const MutableView& wanted, const PatchSegment<T>& segment,
                 std::int64_t size) const {
    return wanted.as<T>() + std::max<std::int64_t>(0, segment.gradient) * size;
  }

  /// `down` and `up`: a sum for each block, and their sum for each segment. In a segment of one
  /// block, the sum of the block is the gradient.
  void sum_products(const T* x, const T* m, const T* dm, const T* dy) const {
    const std::int64_t size = channels_ * widest_;
    parallel_tasks(products_.count(), [&](std::int64_t task, int worker) {
      const auto [index, begin, end] = products_[task];
      const PatchSegment<T>& segment = segments_[index];
      const std::int64_t width = segment.bottleneck, count = end - begin;
      if (width == 0) return;
      const bool is_only = products_.first(index + 1) - products_.first(index) == 1;
      if (down_ != nullptr) {  // transposed, [D,C], so that vectors run along the long axis
        T* const sums = is_only ? only_ + worker * size : down_ + task * size;
        std::fill_n(sums, channels_ * width, T(0));
        sum_of_outer<T>(inner_row(dm, segment, begin), width, x + begin * channels_, channels_,
                        count, sums, channels_, width, channels_);
        if (is_only) write_down(segment, sums, 1);
      }
      if (up_ == nullptr) return;
      T* const active = inner_row(activated_, segment, begin);
      const T* const hidden = inner_row(m, segment, begin);
      for_lanes<T>(count * width, [&]<class L>(L, std::int64_t i) {
        L::store(active + i, gelu<T>(L::load(hidden + i)));
      });
      T* const sums = is_only ? gradient_of(wanted_.up, segment, size) : up_ + task * size;
      std::fill_n(sums, is_only ? size : channels_ * width, T(0));
      sum_of_outer<T>(active, width, dy + begin * channels_, channels_, count, sums, channels_,
                      width, channels_);
    });
    parallel_tasks(segments_.count(), [&](std::int64_t index, int) {
      const PatchSegment<T>& segment = segments_[index];
      const std::int64_t first = products_.first(index);
      const std::int64_t blocks = products_.first(index + 1) - first;
      if (segment.bottleneck == 0 || blocks == 1) return;
      if (up_ != nullptr) {
        const std::int64_t own = channels_ * segment.bottleneck;
        T* const out = gradient_of(wanted_.up, segment, size);
        sum_partials(up_ + first * size, blocks, size, own, out);
        std::fill(out + own, out + size, T(0));
      }
      if (down_ != nullptr) write_down(segment, down_ + first * size, blocks);
    });
  }

  /// Writes the gradient of `down`, [C,D], from sums [blocks,D,C].
  void write_down(const PatchSegment<T>& segment, const T* sums, std::int64_t blocks) const {
    const std::int64_t size = channels_ * widest_, width = segment.bottleneck;
    T* const out = gradient_of(wanted_.down, segment, size);
    for (std::int64_t c = 0; c < channels_; ++c) {
      for (std::int64_t d = 0; d < width; ++d) {
        T sum = 0;
        for (std::int64_t part = 0; part < blocks; ++part)
          sum += sums[part * size + d * channels_ + c];
        out[c * width + d] = sum;
      }
    }
    std::fill(out + channels_ * width, out + size, T(0));
  }

  /// The sum over the rows of each segment: row_of(segment, row) has columns_of(segment) elements.
  template <class ColumnsOf, class RowOf>
  void sum_rows(const MutableView& wanted, std::int64_t size, const ColumnsOf& columns_of,
                const RowOf& row_of) const {
    parallel_tasks(sums_.count(), [&](std::int64_t task, int) {
      const auto [index, begin, end] = sums_[task];
      const PatchSegment<T>& segment = segments_[index];
      if (segment.bottleneck == 0) return;
      const std::int64_t columns = columns_of(segment);
      T* const sums = partial_ + task * size;
      std::fill_n(sums, columns, T(0));
      for (std::int64_t row = begin; row < end; ++row) add_row(sums, row_of(segment, row), columns);
    });
    for (std::int64_t index = 0; index < segments_.count(); ++index) {
      const PatchSegment<T>& segment = segments_[index];
      if (segment.bottleneck == 0) continue;
      const std::int64_t first = sums_.first(index), columns = columns_of(segment);
      T* const out = gradient_of(wanted, segment, size);
      sum_partials(partial_ + first * size, sums_.first(index + 1) - first, size, columns, out);
      std::fill(out + columns, out + size, T(0));
    }
  }

  PatchGradients wanted_;
  PatchSegments<T> segments_;
  std::int64_t rows_per_sequence_, channels_, widest_;
  SegmentBlocks<T> products_, sums_;
  T* down_ = nullptr;
  T* only_ = nullptr;  ///< per worker, for segments of one block
  T* up_ = nullptr;
  T* activated_ = nullptr;
  T* partial_ = nullptr;
};

}  // namespace refrain::kernels::cpu
