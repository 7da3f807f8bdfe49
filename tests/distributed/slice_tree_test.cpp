/// The tree in which slices are added.

#include <bit>
#include <cmath>
#include <vector>

#include "refrain/distributed/slice_tree.hpp"
#include "support/catch.hpp"

using namespace refrain;
using namespace refrain::test;

namespace slice_tree_test {

/// All nodes of the tree over `range`, by its recursive definition with halves of width/2.
void list_nodes(SliceRange range, std::int64_t width, std::vector<SliceRange>& nodes) {
  if (range.empty()) return;
  nodes.push_back(range);
  if (width == 1) return;
  const std::int64_t middle = std::min(range.begin + width / 2, range.end);
  list_nodes({range.begin, middle}, width / 2, nodes);
  list_nodes({middle, range.end}, width / 2, nodes);
}

std::vector<SliceRange> all_nodes(std::int64_t slices) {
  std::vector<SliceRange> nodes;
  list_nodes({0, slices},
             static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(slices))), nodes);
  return nodes;
}

}  // namespace slice_tree_test

TEST_CASE("slice tree: its nodes are those of the recursive definition", "[distributed]") {
  using namespace slice_tree_test;
  for (std::int64_t slices = 1; slices <= 33; ++slices) {
    const SliceTree tree(slices);
    const std::vector<SliceRange> expected = all_nodes(slices);
    for (std::int64_t begin = -1; begin <= slices; ++begin) {
      for (std::int64_t end = begin - 1; end <= slices + 1; ++end) {
        const bool is_listed = std::ranges::count(expected, SliceRange{begin, end}) > 0;
        REQUIRE(tree.is_node({begin, end}) == is_listed);
      }
    }
  }
}

TEST_CASE("slice tree: ranks own all slices, and their partial sums are few", "[distributed]") {
  for (std::int64_t slices = 1; slices <= 40; ++slices) {
    const SliceTree tree(slices);
    for (int ranks = 1; ranks <= 9; ++ranks) {
      std::int64_t next = 0;
      for (int rank = 0; rank < ranks; ++rank) {
        const SliceRange own = tree.slices_of(rank, ranks);
        REQUIRE(own.begin == next);
        next = own.end;
        const std::int64_t count = own.end - own.begin;
        const auto log2 = [](std::int64_t n) { return std::log2(static_cast<double>(n)); };
        const std::vector<SliceRange> nodes = tree.nodes(own);
        REQUIRE(static_cast<double>(nodes.size()) <= 2 * log2(count + 1));
        if (own.begin == 0 && count > 0)
          REQUIRE(static_cast<double>(nodes.size()) <= std::floor(log2(count)) + 1);
        std::int64_t covered = own.begin;
        for (const SliceRange& node : nodes) {
          REQUIRE(tree.is_node(node));
          REQUIRE(node.begin == covered);
          covered = node.end;
        }
        REQUIRE(covered == own.end);
        for (std::size_t i = 1; i < nodes.size(); ++i)
          REQUIRE_FALSE(tree.joins(nodes[i - 1], nodes[i]));
      }
      REQUIRE(next == slices);
    }
    REQUIRE(tree.nodes({0, slices}) == std::vector<SliceRange>{{0, slices}});
  }
}

TEST_CASE("slice tree: the number of slices is checked", "[distributed]") {
  CHECK_THROWS_MATCHES(SliceTree(0), OptionError, message_contains("got 0"));
  CHECK_THROWS_MATCHES(SliceTree(65537), OptionError, message_contains("got 65537"));
}
