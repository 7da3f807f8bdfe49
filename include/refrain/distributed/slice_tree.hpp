#pragma once
/// The fixed tree in which the gradients of the slices of a batch are added.

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

#include "refrain/core/error.hpp"

namespace refrain {

/// Consecutive slices [begin, end) of a batch.
struct SliceRange {
  std::int64_t begin = 0;
  std::int64_t end = 0;

  bool empty() const noexcept { return begin >= end; }
  friend bool operator==(const SliceRange&, const SliceRange&) = default;
};

/// A binary tree over S slices. A node of width w, a power of two, covers the slices [i w,
/// min((i + 1) w, S)). Its sum is the sum of its left half plus that of its right half; a half
/// without slices, or whose slices have no gradient, is left out. The order of the additions
/// depends on S alone, so sums have the same bits wherever their slices are computed.
///
/// Slices are added from left to right: after each slice, the last two partial sums are added as
/// long as joins() allows. Of n slices that are in memory this leaves at most floor(log2(n)) + 1
/// partial sums when they start at slice 0, and at most 2 log2(n + 1) otherwise.
class SliceTree {
 public:
  /// Throws OptionError unless 1 <= slices <= 65,536.
  explicit SliceTree(std::int64_t slices) : slices_(slices) {
    if (slices < 1 || slices > 65536) {
      throw OptionError(detail::concat("SliceTree: expected slices from 1 to 65536, got ", slices));
    }
  }

  std::int64_t slices() const noexcept { return slices_; }

  /// The slices of rank `rank` of `ranks`: [S rank / ranks, S (rank + 1) / ranks), rounded down.
  SliceRange slices_of(int rank, int ranks) const noexcept {
    return {slices_ * rank / ranks, slices_ * (rank + 1) / ranks};
  }

  /// True when the range is a node.
  bool is_node(SliceRange range) const noexcept {
    if (range.begin < 0 || range.empty()) return false;
    const auto width = static_cast<std::int64_t>(
        std::bit_ceil(static_cast<std::uint64_t>(range.end - range.begin)));
    return range.begin % width == 0 && range.end == std::min(range.begin + width, slices_);
  }

  /// True when two consecutive nodes are the halves of a node.
  bool joins(SliceRange left, SliceRange right) const noexcept {
    return left.end == right.begin && is_node({left.begin, right.end});
  }

  /// The partial sums that remain of the slices of a range: the fewest nodes that cover it, in
  /// order.
  std::vector<SliceRange> nodes(SliceRange range) const {
    std::vector<SliceRange> nodes;
    for (std::int64_t slice = range.begin; slice < range.end; ++slice) {
      SliceRange node{slice, slice + 1};
      for (; !nodes.empty() && joins(nodes.back(), node); nodes.pop_back())
        node.begin = nodes.back().begin;
      nodes.push_back(node);
    }
    return nodes;
  }

 private:
  std::int64_t slices_;
};

}  // namespace refrain
