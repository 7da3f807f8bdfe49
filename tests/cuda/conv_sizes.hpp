#pragma once
/// Sizes of convolutions, and patches and banks of patches whose weights are scaled so that results
/// stay near one.

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "cuda/arena.hpp"
#include "refrain/kernels/causal_conv.hpp"
#include "refrain/kernels/patch.hpp"

namespace refrain::test {

inline constexpr auto paddings = {kernels::Padding::causal, kernels::Padding::same};

struct ConvSizes {
  explicit ConvSizes(Arena& arena)
      : batch(arena.size(6)),
        steps(arena.size(50)),
        in(arena.one_of<std::int64_t>({1, 3, 16, 32, 64, 65, 128})),
        out(arena.one_of<std::int64_t>({1, 5, 16, 48, 64, 128})),
        taps(arena.size(4)),
        dilation(arena.one_of<std::int64_t>({1, 2, 4, 64})) {}
  double scale() const { return 1 / std::sqrt(static_cast<double>(taps * in)); }

  std::int64_t batch, steps, in, out, taps, dilation;
};

/// A patch for all sequences, or a bank of patches with a row for each.
class PatchChoice {
 public:
  /// No bank when `possible` is false.
  PatchChoice(Arena& arena, std::int64_t batch, bool possible) {
    if (!possible || arena.coin()) return;
    count_ = 2 + arena.below(5);
    for (std::int64_t b = 0; b < batch; ++b) rows_.push_back(arena.below(count_));
    std::sort(rows_.begin(), rows_.end());
    rows_.back() = count_ - 1;  // one patch at least
  }

  bool is_bank() const { return count_ > 0; }
  /// Shapes of a bank, and of the gradients of its rows in use.
  Shape of_bank(std::vector<std::int64_t> row) const { return with(count_, std::move(row)); }
  Shape of_gradient(std::vector<std::int64_t> row) const {
    std::int64_t used = 0;
    for (std::size_t b = 0; b < rows_.size(); ++b)
      used += rows_[b] > 0 && (b == 0 || rows_[b] != rows_[b - 1]) ? 1 : 0;
    return with(used, std::move(row));
  }
  View rows(Arena& arena) const { return is_bank() ? arena.ids_from(rows_) : View(); }

  kernels::PatchViews weights(Arena& arena, std::int64_t channels, std::int64_t bottleneck) const {
    return {.down = arena.normal(of_bank({channels, bottleneck}),
                                 1 / std::sqrt(static_cast<double>(channels))),
            .down_bias = arena.normal(of_bank({bottleneck})),
            .up = arena.normal(of_bank({bottleneck, channels}),
                               1 / std::sqrt(static_cast<double>(bottleneck))),
            .up_bias = arena.normal(of_bank({channels})),
            .bank_rows = rows(arena)};
  }
  kernels::PatchGradients gradients(Arena& arena, std::int64_t channels,
                                    std::int64_t bottleneck) const {
    return {.down = arena.output("dpatch.down", of_gradient({channels, bottleneck})),
            .down_bias = arena.output("dpatch.down_bias", of_gradient({bottleneck})),
            .up = arena.output("dpatch.up", of_gradient({bottleneck, channels})),
            .up_bias = arena.output("dpatch.up_bias", of_gradient({channels}))};
  }

 private:
  Shape with(std::int64_t count, std::vector<std::int64_t> row) const {
    if (is_bank()) row.insert(row.begin(), count);
    return Shape(row);
  }

  std::int64_t count_ = 0;  ///< K; 0: no bank
  std::vector<std::int64_t> rows_;
};

}  // namespace refrain::test
