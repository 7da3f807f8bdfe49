#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

#include "refrain/nn/linear.hpp"
#include "refrain/nn/parameter_bank.hpp"
#include "refrain/ops/softmax_loss_of_bank.hpp"

namespace refrain {

/// The heads of many classification tasks: linear layers with bias whose losses are computed as
/// one, for batches whose rows belong to different tasks.
///
///   losses[k] = weights[k] softmax_loss(hidden of the rows of task k, head_k)
///
/// hidden [B,C], rows [B], ascending; row 0 is no head. The heads may have different numbers of
/// classes. They are bound to rows (ParameterBank): their optimizers train them, and
/// pass_gradients() hands them the gradients of a batch. f32 or f64, on the CPU and on a GPU.
/// Throws the errors of softmax_loss_of_bank() and of ParameterBank.
class HeadBank {
 public:
  struct Options {
    std::int64_t count = 0;     ///< K, rows; row 0 is no head
    std::int64_t channels = 0;  ///< C
    std::int64_t classes = 0;   ///< V of the head with the most classes
    double smoothing = 0;       ///< label smoothing of all tasks
  };

  explicit HeadBank(Options options, Placement placement = {})
      : weight_(options.count, {options.classes, options.channels}, placement),
        bias_(options.count, {options.classes}, placement),
        classes_(Tensor::zeros({options.count}, DType::i32), placement.device),
        smoothing_(options.smoothing) {}

  /// Binds a head to a row from 1 on. Throws OptionError for row 0, ShapeError for a head without
  /// bias, of other channels, or with too many classes.
  void bind(std::int64_t row, Linear& head) {
    const Shape& widest = weight_.table().shape();
    const Shape& own = head.weight().shape();
    if (!head.bias().defined() || own[1] != widest[2] || own[0] > widest[1]) {
      throw ShapeError(detail::concat(
          "HeadBank: expected a head of ", widest[2], " channels with bias and at most ", widest[1],
          " classes, got ", own[1], " and ", own[0], head.bias().defined() ? "" : " without bias"));
    }
    if (row < 1) throw OptionError(detail::concat("HeadBank: expected a row >= 1, got ", row));
    weight_.bind(row, head.parameter("weight"));
    bias_.bind(row, head.parameter("bias"));
    set_classes(row, own[0]);
  }

  void release(std::int64_t row) {
    for (ParameterBank* bank : banks()) bank->release(row);
    set_classes(row, 0);
  }

  void pass_gradients() {
    for (ParameterBank* bank : banks()) bank->pass_gradients();
  }

  /// The loss of each task of a batch: targets i32 [B], weights [K] or undefined.
  BankLosses losses(const Variable& hidden, const BankIndices& rows, const Tensor& targets,
                    const Tensor& weights = {}) const {
    return softmax_loss_of_bank(hidden, heads(rows), targets, weights, smoothing_);
  }

 private:
  std::array<ParameterBank*, 2> banks() { return {&weight_, &bias_}; }

  HeadParameters heads(const BankIndices& rows) const {
    return {weight_.table(), bias_.table(), rows, classes_};
  }

  /// Replaces classes_, which earlier batches share.
  void set_classes(std::int64_t row, std::int64_t classes) {
    Tensor all = classes_.host().clone();
    all.data<std::int32_t>()[row] = static_cast<std::int32_t>(classes);
    classes_ = BankIndices(std::move(all), weight_.table().device());
  }

  ParameterBank weight_, bias_;
  BankIndices classes_;  ///< [K]; 0: no head
  double smoothing_;
};

}  // namespace refrain
