#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

#include "refrain/core/error.hpp"
#include "refrain/core/tensor.hpp"

namespace refrain {

/// The inputs of one stream that later time steps of a causal dilated convolution read.
///
/// A ring buffer of R = (width - 1) * dilation rows [channels]: time step t is in row t modulo R.
/// Rows of time steps before the start of the stream are zero, the padding of a causal convolution.
/// A value: copies are independent. Any dtype, on the CPU.
class ConvHistory {
 public:
  struct Options {
    std::int64_t channels = 0;
    std::int64_t width = 3;     ///< taps of the convolution
    std::int64_t dilation = 1;  ///< in time steps
    DType dtype = DType::f32;

    bool operator==(const Options&) const = default;
  };

  ConvHistory() = default;
  /// The history of an empty stream. Throws OptionError unless width and dilation are from 1 to
  /// 2^31 - 1.
  explicit ConvHistory(Options options)
      : options_(options),
        rows_(Tensor::zeros({reach(options), options.channels}, options.dtype)) {}

  ConvHistory(const ConvHistory& other)
      : options_(other.options_), rows_(other.rows_.clone()), oldest_(other.oldest_) {}
  ConvHistory(ConvHistory&&) = default;
  ConvHistory& operator=(ConvHistory other) noexcept {
    std::swap(options_, other.options_);
    std::swap(rows_, other.rows_);
    std::swap(oldest_, other.oldest_);
    return *this;
  }
  ~ConvHistory() = default;

  const Options& options() const noexcept { return options_; }

  /// The row that tap k >= 1 reads at the next time step: `channels` elements, until the next
  /// push().
  const void* tap(std::int64_t k) const {
    // From the oldest row on the ring buffer holds the time steps in order.
    const std::int64_t row = oldest_ - k * options_.dilation;
    return row_at(row < 0 ? row + rows_.size(0) : row);
  }

  /// The rows that the taps read at the next time step, whose input is x: [1,width,channels], row k
  /// for tap k, x in row 0. Throws ShapeError or DTypeError unless x is one row with the channels
  /// and dtype of this history.
  Tensor taps(const Tensor& x) const {
    check(x, 1);
    Tensor taps({1, options_.width, options_.channels}, options_.dtype);
    char* to = static_cast<char*>(taps.raw());
    std::memcpy(to, x.raw(), x.bytes());
    for (std::int64_t k = 1; k < options_.width; ++k)
      std::memcpy(to + static_cast<std::size_t>(k) * x.bytes(), tap(k), x.bytes());
    return taps;
  }

  /// Replaces the oldest rows by the inputs x [...,channels] of the next time steps, in their
  /// order. Throws ShapeError or DTypeError unless x has the channels and dtype of this history.
  void push(const Tensor& x) {
    const std::int64_t steps =
        x.rank() > 0 ? x.numel() / std::max<std::int64_t>(1, options_.channels) : 0;
    check(x, steps);
    const std::int64_t kept = rows_.size(0);
    if (kept == 0) return;
    const std::size_t bytes =
        static_cast<std::size_t>(options_.channels) * size_bytes(options_.dtype);
    for (std::int64_t step = std::max<std::int64_t>(0, steps - kept); step < steps; ++step) {
      std::memcpy(const_cast<char*>(row_at((oldest_ + step) % kept)),
                  static_cast<const char*>(x.raw()) + static_cast<std::size_t>(step) * bytes,
                  bytes);
    }
    oldest_ = (oldest_ + steps) % kept;
  }

  /// Appends the time step whose input is row `row` of x [B,channels]. Throws as push(), and
  /// ShapeError for a row outside x.
  void push(const Tensor& x, std::int64_t row) {
    check(x, x.rank() == 2 ? x.size(0) : 0);
    if (row < 0 || row >= x.size(0))
      throw ShapeError(detail::concat("ConvHistory: expected a row of ", x.shape(), ", got ", row));
    if (rows_.size(0) == 0) return;
    const std::size_t bytes =
        static_cast<std::size_t>(options_.channels) * size_bytes(options_.dtype);
    std::memcpy(const_cast<char*>(row_at(oldest_)),
                static_cast<const char*>(x.raw()) + static_cast<std::size_t>(row) * bytes, bytes);
    oldest_ = (oldest_ + 1) % rows_.size(0);
  }

  /// Calls function(part) for the parts of a saved history: the rows, a Tensor, and the index of
  /// the oldest row, a std::int64_t.
  template <class Function>
  void visit(Function&& function) const {
    function(rows_);
    function(oldest_);
  }
  /// visit() for loading a history: the function fills the parts. Throws DataError for an index
  /// outside the ring buffer.
  template <class Function>
  void visit(Function&& function) {
    function(rows_);
    function(oldest_);
    if (oldest_ < 0 || oldest_ >= std::max<std::int64_t>(1, rows_.size(0))) {
      throw DataError("ConvHistory", 0,
                      detail::concat("expected a row below ", rows_.size(0), ", got ", oldest_));
    }
  }

 private:
  static std::int64_t reach(const Options& options) {
    constexpr std::int64_t max_size = 0x7FFF'FFFF;
    for (const std::int64_t size : {options.width, options.dilation}) {
      if (size >= 1 && size <= max_size) continue;
      throw OptionError(detail::concat("ConvHistory: expected width and dilation from 1 to ",
                                       max_size, ", got ", options.width, " and ",
                                       options.dilation));
    }
    return (options.width - 1) * options.dilation;
  }

  const char* row_at(std::int64_t row) const {
    return static_cast<const char*>(rows_.raw()) +
           static_cast<std::size_t>(row * options_.channels) * size_bytes(options_.dtype);
  }

  void check(const Tensor& x, std::int64_t steps) const {
    if (x.dtype() != options_.dtype) {
      throw DTypeError(
          detail::concat("ConvHistory: expected ", options_.dtype, ", got ", x.dtype()));
    }
    const bool is_rows = x.rank() > 0 && x.size(x.rank() - 1) == options_.channels &&
                         x.numel() == steps * options_.channels;
    if (!is_rows || x.device() != Device::cpu) {
      throw ShapeError(detail::concat("ConvHistory: expected ", steps == 1 ? "one row" : "rows",
                                      " of ", options_.channels, " channels on the CPU, got ",
                                      x.shape()));
    }
  }

  Options options_;
  Tensor rows_;
  std::int64_t oldest_ = 0;
};

}  // namespace refrain
