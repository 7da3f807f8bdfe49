#pragma once
/// Compares the outputs of a kernel with expected values: all together, each one separately, and
/// all but one.

#include <algorithm>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "refrain/core/math_mode.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/guarded_array.hpp"
#include "support/naive.hpp"

namespace refrain::test {

/// One output of a kernel: its shape and its expected values.
struct Expected {
  Shape shape;
  naive::Values values;
  bool required = false;  ///< the kernel always computes it
  double scale = 1;       ///< factor for both sides of the comparison, for small values
};

/// The outputs of a kernel; bit i of `choice` requests output i.
template <class T, Device where>
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
  const GuardedArray<T, where>& array(std::size_t i) const { return arrays_[i]; }
  /// Sets the values that a kernel adds to.
  void fill(std::size_t i, std::span<const T> values) {
    std::copy(values.begin(), values.end(), arrays_[i].data());
  }
  bool same_as(const Outputs& other) const {
    return std::equal(arrays_.begin(), arrays_.end(), other.arrays_.begin(), other.arrays_.end(),
                      [](const auto& a, const auto& b) { return same_bytes(a, b); });
  }

 private:
  unsigned choice_;
  std::vector<GuardedArray<T, where>> arrays_;
};

/// The choices of outputs that a test runs.
enum class Choices {
  all,    ///< all outputs together
  each,   ///< also no output, each one separately, and all but one
  every,  ///< every subset
};

/// Options of a run.
template <class T>
struct RunOptions {
  Choices choices = Choices::each;
  int offset = 0;  ///< elements that tensors start past a multiple of 16 bytes
  Tolerance allowed = tolerance::sum<T>;
  std::int64_t max_bytes = 0;  ///< limit for rows that the kernel gathers, or 0 for the default
  /// The bits of an output do not depend on which other outputs are computed, on any backend.
  bool same_bits_for_any_choice = false;
};

template <class T>
void check_scaled(std::span<const T> got, const Expected& expected, Tolerance allowed) {
  std::vector<T> values(got.begin(), got.end());
  naive::Values scaled = expected.values;
  for (T& value : values) value *= static_cast<T>(expected.scale);
  for (double& value : scaled) value *= expected.scale;
  check_close<T>(std::span<const T>(values), scaled, allowed);
}

/// Calls run(outputs) with all outputs in every setting of the backend: correct values, identical
/// bits. Then with the other choices: correct values, and identical bits where the backend or the
/// options guarantee them. Returns all outputs.
template <class Backend, class T, class Run>
Outputs<T, Backend::device> check_outputs(const std::vector<Expected>& expected,
                                          const RunOptions<T>& options, const Run& run) {
  using Results = Outputs<T, Backend::device>;
  const unsigned all = (1U << expected.size()) - 1;
  unsigned required = 0;
  for (std::size_t i = 0; i < expected.size(); ++i)
    required |= (expected[i].required ? 1U : 0U) << i;
  std::vector<Results> first;
  const auto compare = [&](unsigned choice, bool same_bits) {
    choice |= required;
    INFO("choice of outputs " << choice);
    Results outputs(expected, choice, options.offset);
    run(outputs);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      INFO("output " << i);
      if (!outputs.wanted(i)) continue;
      if (first.empty() || !same_bits)
        check_scaled<T>(outputs.array(i).span(), expected[i], options.allowed);
      if (!first.empty() && same_bits) CHECK(same_bytes(outputs.array(i), first[0].array(i)));
    }
    if (first.empty()) first.push_back(std::move(outputs));
  };
  Backend::for_each_setting([&] { compare(all, true); });
  const bool same = Backend::same_bits_for_any_choice || options.same_bits_for_any_choice;
  if (options.choices == Choices::each) {
    compare(0, same);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      compare(1U << i, same);
      compare(all & ~(1U << i), same);
    }
  } else if (options.choices == Choices::every) {
    for (unsigned choice = 0; choice < all; ++choice) {
      if ((choice & required) == required) compare(choice, same);
    }
  }
  return std::move(first[0]);
}

/// Checks that all arrays that it is called with have the same values: the results of one
/// computation in several settings.
template <class T>
class SameBits {
 public:
  void operator()(std::span<const T> values) {
    if (!first_) first_.emplace(values.begin(), values.end());
    CHECK(std::equal(values.begin(), values.end(), first_->begin(), first_->end()));
  }

 private:
  std::optional<std::vector<T>> first_;
};

/// The tolerance for tensor cores, which round the factors.
template <class T>
Tolerance tolerance_of(MathMode mode) {
  switch (mode) {
    case MathMode::tf32:
      return {4e-3, 4e-3};
    case MathMode::bf16:
      return {4e-2, 4e-2};
    default:
      return tolerance::sum<T>;
  }
}

/// Text for the alignment of tensors.
inline std::string past(int offset) {
  return detail::concat(", ", offset, " past a multiple of 16 bytes");
}

}  // namespace refrain::test
