#pragma once
/// The recommender of the guide "A model of your own", with dropout.

#include <cstdint>

#include "refrain/data/batches.hpp"
#include "refrain/nn/dropout.hpp"
#include "refrain/nn/embedding.hpp"
#include "refrain/nn/loss.hpp"
#include "refrain/nn/recurrent.hpp"
#include "refrain/nn/scores.hpp"

namespace refrain::test {

class SmallRecommender final : public Module {
 public:
  struct Options {
    std::int64_t length = 8;
    std::int64_t width = 16;
    double keep = 0.9;
    std::uint64_t seed = 1;
  };

  SmallRecommender(std::int64_t ids, Options options)
      : SmallRecommender(ids, options, Random(options.seed)) {}

  std::int64_t length() const { return length_; }
  Variable hidden(const Tensor& ids) { return gru_(dropout_(items_(ids))); }
  Variable loss(const SequenceBatch& batch) {
    return softmax_loss(hidden(batch.ids), head_, batch.targets, {.ignored = padding_id});
  }
  Tensor scores(const Tensor& ids) { return last_scores(hidden(ids), head_); }
  void visit_members(Visitor& visitor) override {
    visitor.module("items", items_);
    visitor.module("gru", gru_);
    visitor.module("head", head_);
    visitor.module("dropout", dropout_);
  }

 private:
  SmallRecommender(std::int64_t ids, Options options, Random random)
      : length_(options.length),
        items_({.count = ids, .width = options.width, .deviation = 0.1}, random),
        gru_({.in = options.width, .hidden = options.width, .deviation = 0.1}, random),
        head_({.in = options.width, .out = ids, .deviation = 0.1}, random),
        dropout_({.keep = options.keep}, random.split(random.bits())) {}

  std::int64_t length_;
  Embedding items_;
  Gru gru_;
  Linear head_;
  Dropout dropout_;
};

}  // namespace refrain::test
