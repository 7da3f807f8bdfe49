#pragma once
/// Training steps that are captured once and replayed.

#include <cstdint>
#include <functional>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "refrain/core/math_mode.hpp"
#include "refrain/core/stream.hpp"
#include "refrain/ops/captured_draws.hpp"
#include "refrain/train/optimizer.hpp"

namespace refrain {

/// The result of capturing a training step.
struct CaptureReport {
  bool is_captured = false;
  std::int64_t kernels = 0;     ///< launches of one step
  std::int64_t operations = 0;  ///< kernels, copies and fills
  std::string reason;           ///< the reason of a failure
};

/// A training step (forward, backward, clipping, update) as captured work, for batches with one set
/// of shapes.
///
/// After `capture_after` consecutive steps with batches of equal shapes the next step is captured.
/// From then on such batches are copied into the inputs of the graph, which costs the host one
/// launch per step. Batches of other shapes are left to the caller. When parameters of the
/// optimizer are frozen, unfrozen or moved, or the math mode changes, the step is captured again;
/// other tensors that the loss reads (a frozen base) must keep their addresses. When the step
/// cannot be captured because it waits for the device, this is reported once and not tried again.
template <class Batch>
class CapturedStep {
 public:
  /// capture_after 0: never captures.
  CapturedStep(Device device, Optimizer& optimizer, double max_norm, std::int64_t capture_after)
      : device_(device),
        optimizer_(optimizer),
        max_norm_(max_norm),
        capture_after_(capture_after) {}

  /// Runs the step by replaying the graph and returns true; false when the caller has to run it.
  /// `differentiate(batch)` sets the gradients and returns the loss.
  template <class Differentiate, class Report>
  bool run(const Batch& batch, const Differentiate& differentiate, const Report& report) {
    if (device_ == Device::cpu || capture_after_ == 0 || has_failed_) return false;
    if (work_ && !(optimizer_.capture_fits() && mode_ == math_mode())) {
      work_.reset();
      alike_ = 0;
    }
    if (!has_known_shapes(batch)) {
      if (work_) return false;  // the graph is kept for batches that it fits
      alike_ = 0;
      known_ = shapes_of(batch);
    }
    if (!work_ && (alike_++ < capture_after_ || !record(batch, differentiate, report)))
      return false;
    copy(batch, inputs_);
    draws_.advance();
    optimizer_.advance_captured();
    work_->run();
    return true;
  }

  /// The loss of the latest replay, on the device.
  const Tensor& loss() const noexcept { return loss_; }
  /// The gradient norm of the latest replay, on the device; undefined without clipping.
  const Tensor& norm() const noexcept { return norm_; }

 private:
  struct Form {
    bool is_defined;
    Shape shape;
    DType dtype;
    friend bool operator==(const Form&, const Form&) = default;
  };

  static std::vector<Form> shapes_of(const Batch& batch) {
    std::vector<Form> forms;
    Batch handles = batch;
    handles.visit([&](Tensor& tensor) {
      forms.push_back({tensor.defined(), tensor.shape(), tensor.dtype()});
    });
    return forms;
  }
  bool has_known_shapes(const Batch& batch) const { return known_ == shapes_of(batch); }

  static void copy(const Batch& from, Batch& to) {
    std::vector<Tensor> sources;
    Batch handles = from;
    handles.visit([&](Tensor& tensor) { sources.push_back(tensor); });
    std::size_t at = 0;
    to.visit([&](Tensor& tensor) {
      if (tensor.defined()) tensor.copy_from(sources[at]);
      ++at;
    });
  }

  template <class Differentiate, class Report>
  bool record(const Batch& batch, const Differentiate& differentiate, const Report& report) {
    const auto failed = [&](const char* reason) {
      has_failed_ = true;
      optimizer_.zero_grad();
      report(CaptureReport{.is_captured = false, .reason = reason});
      return false;
    };
    try {
      // The graph has memory of its own, for which cached blocks must make room.
      pool_trim(device_);
      optimizer_.prepare_capture();
      mode_ = math_mode();
      draws_ = {};
      inputs_ = batch;
      inputs_.visit([](Tensor& tensor) { tensor = tensor.clone(); });
      const detail::CapturedDraws::Scope scope(draws_);
      work_.emplace(device_, [&] {
        optimizer_.zero_grad();
        loss_ = differentiate(inputs_);
        if (max_norm_ > 0) norm_ = optimizer_.clip_gradients_on_device(max_norm_);
        optimizer_.step_captured();
      });
    } catch (const Error& error) {
      return failed(error.what());
    } catch (const std::bad_alloc&) {
      return failed("the device has too little memory for a captured step beside ordinary steps");
    }
    report(CaptureReport{.is_captured = true,
                         .kernels = work_->kernels(),
                         .operations = work_->operations(),
                         .reason = {}});
    return true;
  }

  Device device_;
  Optimizer& optimizer_;
  double max_norm_;
  std::int64_t capture_after_;
  std::vector<Form> known_;
  std::int64_t alike_ = 0;
  bool has_failed_ = false;
  MathMode mode_{};
  Batch inputs_{};
  detail::CapturedDraws draws_;
  Tensor loss_;
  Tensor norm_;
  std::optional<CapturedWork> work_;
};

}  // namespace refrain
