#pragma once

#include "refrain/nn/initialize.hpp"
#include "refrain/ops/chunk_attention.hpp"
#include "refrain/ops/matmul.hpp"

namespace refrain {

/// Attention that reduces the hidden vectors of a chunk to one, given the vectors last read from
/// the memory.
///
///   z_j = score . tanh(weight c_j + query r),  alpha = softmax(z),  out = sum_j alpha_j c_j
///
/// first [B,hidden], rest [l-1,B,hidden], read [B,read] -> [B,hidden]. Parameters: weight
/// [width,hidden], query [width,read], score [width]; initially truncated normal. Throws
/// ShapeError. Source: CmnRec, equations 8 to 10 (W, U, w).
class ChunkAttention final : public Module {
 public:
  struct Options {
    std::int64_t hidden = 0;
    std::int64_t read = 0;  ///< width of the flattened read vectors
    std::int64_t width = 64;
    double deviation = 0.1;  ///< standard deviation of the initial weights
  };

  /// Draws the weights from `random`.
  ChunkAttention(Options options, Random& random, Placement placement = {})
      : weight_(initialize::truncated_normal({options.width, options.hidden}, options.deviation,
                                             random, placement)),
        query_(initialize::truncated_normal({options.width, options.read}, options.deviation,
                                            random, placement)),
        score_(
            initialize::truncated_normal({options.width}, options.deviation, random, placement)) {}

  Variable operator()(const Variable& first, const Variable& rest, const Variable& read) const {
    return chunk_attention(first, rest, linear(read, query_), weight_, score_);
  }

  void visit_members(Visitor& visitor) override {
    visitor.parameter("weight", weight_);
    visitor.parameter("query", query_);
    visitor.parameter("score", score_);
  }

 private:
  Parameter weight_;
  Parameter query_;
  Parameter score_;
};

}  // namespace refrain
