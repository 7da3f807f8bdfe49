#pragma once
/// Outputs of backward passes on emulated CUDA: together, each alone, each left out.

#include <string>
#include <utility>
#include <vector>

#include "refrain/core/math_mode.hpp"
#include "refrain/kernels/causal_conv.hpp"
#include "refrain/kernels/patch.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/naive_conv.hpp"
#include "support/simt/device_array.hpp"
#include "support/simt/orders.hpp"

namespace refrain::test {

/// One output of an entry: its shape and its expected values.
struct Expected {
  Shape shape;
  naive::Values values;
};

/// The outputs of an entry; bit i of `choice` requests output i.
template <class T>
class Outputs {
 public:
  Outputs(const std::vector<Expected>& expected, unsigned choice, int offset) : choice_(choice) {
    for (const Expected& output : expected)
      arrays_.emplace_back(output.shape, std::vector<T>(), offset);
  }
  bool wanted(std::size_t i) const { return (choice_ >> i & 1) != 0; }
  MutableView operator[](std::size_t i) {
    return wanted(i) ? arrays_[i].mutable_view() : MutableView();
  }
  const DeviceArray<T>& array(std::size_t i) const { return arrays_[i]; }

 private:
  unsigned choice_;
  std::vector<DeviceArray<T>> arrays_;
};

/// The choices of outputs that a test runs: all of them, or also none, each alone and each left
/// out; and its tolerance.
template <class T>
struct Options {
  bool choices = true;
  int offset = 0;  ///< elements that tensors start past a multiple of 16 bytes
  Tolerance allowed = tolerance::sum<T>;
  std::int64_t column_bytes = 0;  ///< a limit of their own for the gathered rows
};

/// Runs run(outputs) with all outputs in every order of threads: correct values, the same bits.
/// Then with the other choices: the same bits again.
template <class T, class Run>
void check_outputs(const std::vector<Expected>& expected, const Options<T>& options,
                   const Run& run) {
  const unsigned all = (1U << expected.size()) - 1;
  std::vector<Outputs<T>> first;
  const auto compare = [&](unsigned choice) {
    INFO("choice of outputs " << choice);
    Outputs<T> outputs(expected, choice, options.offset);
    run(outputs);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      INFO("output " << i);
      if (!outputs.wanted(i)) continue;
      if (first.empty()) {
        check_close<T>(outputs.array(i).span(), expected[i].values, options.allowed);
      } else {
        CHECK(same_bytes(outputs.array(i), first[0].array(i)));
      }
    }
    if (first.empty()) first.push_back(std::move(outputs));
  };
  for_each_order([&] { compare(all); });
  if (!options.choices) return;
  compare(0);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    compare(1U << i);
    compare(all & ~(1U << i));
  }
}

/// The tolerance for rounded factors.
inline Tolerance rounded_factors(MathMode mode) {
  return mode == MathMode::tf32 ? Tolerance{4e-3, 4e-3} : Tolerance{4e-2, 4e-2};
}

inline std::string text(const naive::ConvSizes& s) {
  return detail::concat("B ", s.batch, " T ", s.steps, " Cin ", s.in, " Cout ", s.out, " K ",
                        s.taps, " dilation ", s.dilation, s.same ? " same" : " causal");
}
inline kernels::Padding padding(const naive::ConvSizes& size) {
  return size.same ? kernels::Padding::same : kernels::Padding::causal;
}

/// A patch's weights on both sides.
template <class T>
struct PatchWithGradients {
  DeviceArray<T> down, down_bias, up, up_bias;

  PatchWithGradients(std::int64_t channels, std::int64_t width, int offset)
      : down(random_array<T>({channels, width}, 11, 0.5, offset)),
        down_bias(random_array<T>({width}, 12)),
        up(random_array<T>({width, channels}, 13, 1, offset)),
        up_bias(random_array<T>({channels}, 14)) {}

  kernels::PatchViews views() const {
    return {down.view(), down_bias.view(), up.view(), up_bias.view()};
  }
  naive::PatchValues values() const {
    return {down.doubles(), down_bias.doubles(), up.doubles(), up_bias.doubles()};
  }
  void append(std::vector<Expected>& expected, const naive::PatchValues& d) const {
    expected.push_back({down.view().shape, d.down});
    expected.push_back({down_bias.view().shape, d.down_bias});
    expected.push_back({up.view().shape, d.up});
    expected.push_back({up_bias.view().shape, d.up_bias});
  }
};

}  // namespace refrain::test
