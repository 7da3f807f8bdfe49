#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <utility>
#include <vector>

#include "refrain/core/error.hpp"
#include "refrain/core/tensor.hpp"
#include "refrain/kernels/causal_conv.hpp"

namespace refrain {

/// A subset of the time steps of a sequence, ascending, counted from 0.
class StepSet {
 public:
  StepSet() = default;
  /// Time steps of a sequence of `length`, in any order, with or without repetitions; negative ones
  /// count from the end. Throws OptionError for a time step outside the sequence and for a negative
  /// length.
  StepSet(const std::vector<std::int64_t>& steps, std::int64_t length)
      : places_(checked(length), absent) {
    for (const std::int64_t given : steps) {
      const std::int64_t step = given < 0 ? given + length : given;
      if (step < 0 || step >= length)
        throw OptionError(detail::concat("StepSet: expected time steps from ", -length, " to ",
                                         length - 1, ", got ", given));
      places_[static_cast<std::size_t>(step)] = 0;
    }
    steps_.reserve(steps.size());
    for (std::int64_t step = 0; step < length; ++step) {
      std::int32_t& place = places_[static_cast<std::size_t>(step)];
      if (place == absent) continue;
      place = static_cast<std::int32_t>(steps_.size());
      steps_.push_back(step);
    }
  }

  std::int64_t size() const noexcept { return static_cast<std::int64_t>(steps_.size()); }
  /// T, the number of time steps of the whole sequence.
  std::int64_t length() const noexcept { return static_cast<std::int64_t>(places_.size()); }
  /// True when the set contains all time steps of the sequence.
  bool is_whole() const noexcept { return size() == length(); }
  const std::vector<std::int64_t>& steps() const noexcept { return steps_; }

  /// The index of a time step in this set; -1 when the set does not contain it.
  std::int32_t find(std::int64_t step) const noexcept {
    return step < 0 || step >= length() ? absent : places_[static_cast<std::size_t>(step)];
  }

  /// The indices in this set of the time steps of another set: i32 [other.size()].
  Tensor places_of(const StepSet& other) const {
    Tensor places({other.size()}, DType::i32);
    std::transform(other.steps_.begin(), other.steps_.end(), places.data<std::int32_t>(),
                   [this](std::int64_t step) { return find(step); });
    return places;
  }

  /// The columns of ids at these time steps: i32 [B,length] -> [B,size]. Throws ShapeError for
  /// another shape.
  Tensor columns(const Tensor& ids) const {
    if (ids.rank() != 2 || ids.size(1) != length()) {
      throw ShapeError(
          detail::concat("StepSet: expected ids [B,", length(), "], got ", ids.shape()));
    }
    if (is_whole()) return ids;
    Tensor chosen({ids.size(0), size()}, DType::i32);
    std::int32_t* to = chosen.data<std::int32_t>();
    for (std::int64_t b = 0; b < ids.size(0); ++b) {
      const std::int32_t* row = ids.data<std::int32_t>() + b * length();
      for (const std::int64_t step : steps_) *to++ = row[step];
    }
    return chosen;
  }

  friend bool operator==(const StepSet&, const StepSet&) = default;

 private:
  static std::size_t checked(std::int64_t length) {
    if (length < 0)
      throw OptionError(detail::concat("StepSet: expected a length >= 0, got ", length));
    return static_cast<std::size_t>(length);
  }

  static constexpr std::int32_t absent = -1;
  std::vector<std::int64_t> steps_;
  /// for every time step of the sequence its index in the set, or absent
  std::vector<std::int32_t> places_;
};

/// The time steps of its input that a dilated convolution reads for chosen time steps of its
/// output.
struct ConvSteps {
  StepSet in;   ///< the time steps that are read, and those of `out`
  StepSet out;  ///< the chosen time steps
  /// i32 [S,K]: the index in `in` of the time step that tap k reads for time step s of `out`; -1
  /// outside the sequence.
  Tensor taps_at;
  Tensor own_at;  ///< i32 [S]: the index in `in` of time step s of `out`

  ConvSteps() = default;
  ConvSteps(StepSet chosen, std::int64_t width, std::int64_t dilation, kernels::Padding padding)
      : out(std::move(chosen)) {
    const std::int64_t length = out.length();
    const auto source = [&](std::int64_t step, std::int64_t tap) {
      return step + kernels::look_ahead(padding, width, dilation) - tap * dilation;
    };
    std::vector<std::int64_t> read = out.steps();
    for (const std::int64_t step : out.steps()) {
      for (std::int64_t tap = 0; tap < width; ++tap) {
        const std::int64_t at = source(step, tap);
        if (at >= 0 && at < length) read.push_back(at);
      }
    }
    in = StepSet(read, length);
    taps_at = Tensor({out.size(), width}, DType::i32);
    std::int32_t* to = taps_at.data<std::int32_t>();
    for (const std::int64_t step : out.steps()) {
      for (std::int64_t tap = 0; tap < width; ++tap) *to++ = in.find(source(step, tap));
    }
    own_at = in.places_of(out);
  }
};

}  // namespace refrain
