#pragma once
/// The patches of a batch: one patch for all rows, or a bank of patches in which each sequence has
/// its row.

#include <algorithm>
#include <cstdint>

#include "kernels/scratch.hpp"
#include "kernels/tiling/bank_segments.hpp"
#include "kernels/tiling/panels.hpp"
#include "refrain/kernels/patch.hpp"

namespace refrain::kernels::cpu {

/// Consecutive sequences with the same patch. All that a kernel computes for a segment is what it
/// computes for a batch of these sequences alone.
template <class T>
struct PatchSegment {
  std::int64_t begin = 0;       ///< first sequence
  std::int64_t end = 0;         ///< sequence past the last one
  std::int64_t row = 0;         ///< row of the bank
  std::int64_t bottleneck = 0;  ///< D; 0: no patch
  std::int64_t gradient = -1;   ///< row of the gradients of a bank; -1: none
  const T* down = nullptr;      ///< [C,D]
  const T* down_bias = nullptr;
  const T* up = nullptr;  ///< [D,C]
  const T* up_bias = nullptr;
};

/// The segments of a batch, in scratch memory.
template <class T>
class PatchSegments {
 public:
  PatchSegments() = default;

  /// `patch`: empty views when the batch has no patch. `sequences`: B; the rows of a tensor divide
  /// evenly among the sequences.
  PatchSegments(const PatchViews& patch, std::int64_t sequences, Scratch& scratch)
      : patch_(patch), sequences_(sequences) {
    for_each([&](const PatchSegment<T>&) { ++count_; });
    list_ = scratch.take<PatchSegment<T>>(count_);
  }

  /// Writes the list.
  void fill() const {
    std::int64_t i = 0;
    for_each([&](const PatchSegment<T>& segment) { list_[i++] = segment; });
  }

  bool is_bank() const { return static_cast<bool>(patch_.bank_rows); }
  std::int64_t count() const { return count_; }
  std::int64_t channels() const { return patch_.down ? patch_.down.shape[-2] : 0; }
  /// D of the widest patch.
  std::int64_t bottleneck() const { return patch_.down ? patch_.down.shape[-1] : 0; }
  std::int64_t sequences() const { return sequences_; }
  const PatchSegment<T>& operator[](std::int64_t index) const { return list_[index]; }

  /// Calls function(segment) for each segment, without the list.
  template <class Function>
  void for_each(Function&& function) const {
    if (!is_bank()) {
      function(segment(0, sequences_, 0, -1));
      return;
    }
    for_bank_segments(patch_.bank_rows, [&](const BankSegment& of) {
      function(segment(of.begin, of.end, of.row, of.gradient));
    });
  }

  /// Calls function(segment, first, count) for the parts of rows [row, row + count) that belong to
  /// one segment, in order. A sequence has `rows_per_sequence` rows.
  template <class Function>
  void for_parts(std::int64_t row, std::int64_t count, std::int64_t rows_per_sequence,
                 Function&& function) const {
    const PatchSegment<T>* at = list_;
    if (count_ > 1) {
      at = std::upper_bound(list_, list_ + count_, row / rows_per_sequence,
                            [](std::int64_t sequence, const PatchSegment<T>& segment) {
                              return sequence < segment.end;
                            });
    }
    for (const std::int64_t end = row + count; row < end; ++at) {
      const std::int64_t part = std::min(end, at->end * rows_per_sequence) - row;
      function(*at, row, part);
      row += part;
    }
  }

 private:
  PatchSegment<T> segment(std::int64_t begin, std::int64_t end, std::int64_t row,
                          std::int64_t gradient) const {
    PatchSegment<T> made{.begin = begin, .end = end, .row = row, .gradient = gradient};
    if (!patch_.down || (is_bank() && row == 0)) return made;
    const std::int64_t widest = bottleneck();
    made.bottleneck = patch_.widths ? patch_.widths.template as<std::int32_t>()[row] : widest;
    made.down = patch_.down.template as<T>() + row * channels() * widest;
    made.down_bias = patch_.down_bias.template as<T>() + row * widest;
    made.up = patch_.up.template as<T>() + row * widest * channels();
    made.up_bias = patch_.up_bias.template as<T>() + row * channels();
    return made;
  }

  PatchViews patch_{};
  std::int64_t sequences_ = 0;
  std::int64_t count_ = 0;
  PatchSegment<T>* list_ = nullptr;
};

/// The first of the D values that a row of a segment has in a tensor [rows,D] of the widest D. The
/// rows of a segment follow each other without gaps, so that a segment has the layout of its
/// sequences alone.
template <class T, class Element>
Element* bottleneck_row(Element* tensor, const PatchSegment<T>& segment, std::int64_t widest,
                        std::int64_t rows_per_sequence, std::int64_t row) {
  if (tensor == nullptr) return nullptr;
  const std::int64_t first = segment.begin * rows_per_sequence;
  return tensor + first * widest + (row - first) * segment.bottleneck;
}

/// The rows of all segments in blocks of at most `length` rows, which sums over the rows of a
/// segment add up in order.
template <class T>
class SegmentBlocks {
 public:
  struct Block {
    std::int64_t segment, begin, end;  ///< index of the segment; rows
  };

  SegmentBlocks() = default;
  SegmentBlocks(const PatchSegments<T>& segments, std::int64_t rows_per_sequence,
                std::int64_t length, Scratch& scratch)
      : segments_(segments), rows_per_sequence_(rows_per_sequence), length_(length) {
    segments.for_each([&](const PatchSegment<T>& segment) {
      count_ += ((segment.end - segment.begin) * rows_per_sequence + length - 1) / length;
    });
    list_ = scratch.take<Block>(count_);
    first_ = scratch.take<std::int64_t>(segments.count() + 1);
  }

  /// Writes the list; the segments have theirs.
  void fill() const {
    std::int64_t at = 0;
    for (std::int64_t i = 0; i < segments_.count(); ++i) {
      first_[i] = at;
      const std::int64_t end = segments_[i].end * rows_per_sequence_;
      for (std::int64_t row = segments_[i].begin * rows_per_sequence_; row < end; row += length_)
        list_[at++] = {i, row, std::min(end, row + length_)};
    }
    first_[segments_.count()] = at;
  }

  std::int64_t count() const { return count_; }
  const Block& operator[](std::int64_t index) const { return list_[index]; }
  /// The first block of a segment, or past the last block of the segment before it.
  std::int64_t first(std::int64_t segment) const { return first_[segment]; }

 private:
  PatchSegments<T> segments_{};
  std::int64_t rows_per_sequence_ = 0;
  std::int64_t length_ = 1;
  std::int64_t count_ = 0;
  Block* list_ = nullptr;
  std::int64_t* first_ = nullptr;
};

}  // namespace refrain::kernels::cpu
