#pragma once
/// Shapes of tensors.

#include <array>
#include <cstdint>
#include <initializer_list>
#include <iosfwd>
#include <limits>
#include <span>
#include <string>

#include "refrain/core/error.hpp"

namespace refrain {

/// Up to six extents, row-major, outermost first. Allocates no memory.
class Shape {
 public:
  static constexpr int max_rank = 6;

  constexpr Shape() = default;
  Shape(std::initializer_list<std::int64_t> extents)
      : Shape(std::span(extents.begin(), extents.size())) {}

  /// Throws ShapeError for more than max_rank extents, a negative extent, or a product of the
  /// non-zero extents above 2^63 - 1.
  explicit Shape(std::span<const std::int64_t> extents) {
    if (extents.size() > static_cast<std::size_t>(max_rank)) {
      throw ShapeError(
          detail::concat("Shape: expected a rank up to ", max_rank, ", got rank ", extents.size()));
    }
    std::int64_t product = 1;
    for (const std::int64_t extent : extents) {
      if (extent < 0)
        throw ShapeError(detail::concat("Shape: expected extents >= 0, got ", extent));
      extents_[static_cast<std::size_t>(rank_++)] = extent;
    }
    for (const std::int64_t extent : extents) {
      if (extent == 0) continue;
      if (product > std::numeric_limits<std::int64_t>::max() / extent) {
        throw ShapeError("Shape: the number of elements of " + str() + " does not fit 64 bits");
      }
      product *= extent;
    }
  }

  int rank() const noexcept { return rank_; }

  /// Extent of an axis; negative axes count from the end. Throws ShapeError for an axis out of
  /// range.
  std::int64_t operator[](int axis) const { return extents_[index(axis)]; }

  /// Number of elements: the product of the extents, 1 for rank 0.
  std::int64_t numel() const noexcept {
    std::int64_t product = 1;
    for (int axis = 0; axis < rank_; ++axis) product *= extents_[static_cast<std::size_t>(axis)];
    return product;
  }

  /// Number of rows when the last axis is a row: the product of the other extents, 1 for ranks 0
  /// and 1.
  std::int64_t rows() const noexcept {
    std::int64_t product = 1;
    for (int axis = 0; axis + 1 < rank_; ++axis)
      product *= extents_[static_cast<std::size_t>(axis)];
    return product;
  }

  /// A copy with the extent of one axis replaced.
  Shape with(int axis, std::int64_t extent) const {
    std::array<std::int64_t, max_rank> extents = extents_;
    extents[index(axis)] = extent;
    return Shape(std::span<const std::int64_t>(extents.data(), static_cast<std::size_t>(rank_)));
  }

  std::span<const std::int64_t> extents() const noexcept {
    return {extents_.data(), static_cast<std::size_t>(rank_)};
  }

  /// The shape as text: "[2, 3, 4]".
  std::string str() const {
    std::string text = "[";
    for (int axis = 0; axis < rank_; ++axis) {
      if (axis > 0) text += ", ";
      text += std::to_string(extents_[static_cast<std::size_t>(axis)]);
    }
    return text + "]";
  }

  friend bool operator==(const Shape& a, const Shape& b) noexcept {
    if (a.rank_ != b.rank_) return false;
    for (std::size_t axis = 0; axis < static_cast<std::size_t>(a.rank_); ++axis) {
      if (a.extents_[axis] != b.extents_[axis]) return false;
    }
    return true;
  }

  template <class Traits>
  friend std::basic_ostream<char, Traits>& operator<<(std::basic_ostream<char, Traits>& out,
                                                      const Shape& shape) {
    return out << shape.str();
  }

 private:
  std::size_t index(int axis) const {
    const int at = axis < 0 ? axis + rank_ : axis;
    if (at < 0 || at >= rank_)
      throw ShapeError(detail::concat("Shape: expected an axis of ", str(), ", got ", axis));
    return static_cast<std::size_t>(at);
  }

  std::array<std::int64_t, max_rank> extents_{};
  int rank_ = 0;
};

}  // namespace refrain
