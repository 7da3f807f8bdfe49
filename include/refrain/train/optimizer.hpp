#pragma once
/// Optimizers: what changes parameters, given their gradients.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "refrain/core/export.hpp"
#include "refrain/kernels/optimizer.hpp"
#include "refrain/nn/module.hpp"
#include "refrain/train/safetensors.hpp"

namespace refrain {

/// Base of the optimizers.
///
/// An optimizer keeps handles on the parameters it is given, so the module may move. Per step it
/// changes those that are not frozen and have a gradient; a parameter named twice (tied layers) is
/// changed once. State (moments, and the number of updates) comes into being with a parameter's
/// first update and belongs to that parameter alone:
///  - a frozen parameter has none; freezing one later drops its state at the next step, unfreezing
///    starts it afresh;
///  - a parameter without a gradient in this step keeps its state, and its update count does not
///    move.
/// Row-sparse gradients change the rows they name alone (lazily): other rows, and their moments,
/// keep their bytes. The update count is the parameter's, not the row's, so a row that appears late
/// gets the bias correction of a late step. Once each parameter has had its first update, a step
/// asks the system for no memory.
class REFRAIN_API Optimizer {
 public:
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  /// Updates the parameters from their gradients, which stay until zero_grad(). Throws ShapeError,
  /// DTypeError or DeviceError when a gradient is not its parameter's.
  void step();

  /// Drops the gradients.
  void zero_grad();

  /// A step that is recorded once and run again (see CapturedWork): what changes from step to step
  /// lies in device memory.
  ///
  ///   // After an ordinary step: the parameters that it changed.
  ///   optimizer.prepare_capture();
  ///   CapturedWork work(device, [&] { ...; optimizer.step_captured(); });
  ///   for (...) { optimizer.advance_captured(); work.run(); }
  ///
  /// advance_captured() counts a step and sends the learning rate and Adam's corrections to the
  /// device. step_captured() throws Error when other parameters have gradients than when it was
  /// prepared. The results are those of step(). When capture_fits() is false, since parameters
  /// were frozen, unfrozen or moved, L2 was changed or a state was loaded, the step must be
  /// recorded again.
  void prepare_capture();
  bool capture_fits() const;
  void advance_captured();
  void step_captured();

  /// Scales all gradients by max_norm / norm when norm > max_norm: norm = sqrt(sum of squares over
  /// all elements of all parameters). Returns the norm before scaling; sums in a fixed order. A
  /// norm that is not finite is returned and nothing is scaled. Waits for the device that the
  /// gradients live on. Throws OptionError unless max_norm > 0.
  double clip_gradients(double max_norm);

  /// The same without waiting: the norm, of one element, stays on the device (kernels::ClipFactor).
  /// Undefined when there is no gradient. Throws OptionError, and DTypeError or DeviceError unless
  /// all gradients are of one type on one device.
  Tensor clip_gradients_on_device(double max_norm);

  double learning_rate() const noexcept { return learning_rate_; }
  /// Throws OptionError unless rate >= 0.
  void set_learning_rate(double rate);

  /// L2 of the parameters whose name matches the pattern, in place of the option: g = gradient + l2
  /// * parameter (of a row-sparse gradient: for the named rows alone). Throws OptionError when none
  /// matches or l2 < 0.
  void set_l2(std::string_view pattern, double l2);

  /// Number of scalars that step() would change now, given a gradient for each.
  std::int64_t trainable_count() const;

  /// Bytes of moments held.
  std::int64_t state_bytes() const;

  /// The state by name, sharing storage with the optimizer: "adam.m.<parameter>",
  /// "adam.v.<parameter>", "adam.updates.<parameter>" (i64 []). Options are not state: a resumed
  /// run makes its optimizer with the same ones.
  TensorMap state() const;

  /// Takes over a state() of the same parameters; those that it does not name have none afterwards.
  /// Throws OptionError, ShapeError or DTypeError, and changes nothing, when it holds a name, shape
  /// or type that does not fit.
  void load_state(const TensorMap& state);

 protected:
  /// A parameter and its state.
  struct Slot {
    std::string name;
    Parameter parameter;
    double l2 = 0;
    std::int64_t updates = 0;  ///< steps that changed this parameter; 0: no state
    std::vector<Tensor> moments;
  };

  /// `moment_names`: what state() calls the moments, "adam.m" and so on.
  Optimizer(std::string kind, std::vector<std::string> moment_names,
            const std::vector<NamedParameter>& parameters, double learning_rate, double l2);

  static constexpr std::int64_t rates_per_slot = 3;

  /// A parameter to change now; slot->updates counts this update already, and the moments exist.
  struct Update {
    Slot* slot;
    View rates;  ///< empty, or what set_rates() wrote, on the device
  };

  /// Changes all parameters of a step.
  virtual void update(std::span<const Update> updates) = 0;

  /// The numbers that a kernel takes from device memory, at most rates_per_slot.
  virtual void set_rates(const Slot& slot, double* rates) const = 0;

 private:
  /// What a recorded step has taken from a slot.
  struct Recorded {
    bool is_frozen;
    const void* value;
    std::vector<const void*> moments;
    double l2;
    friend bool operator==(const Recorded&, const Recorded&) = default;
  };

  static Recorded recorded_of(const Slot& slot);
  static void check_fits(const Slot& slot);
  bool is_due(const Slot& slot) const {
    return !slot.parameter.is_frozen() && slot.parameter.gradient().defined();
  }

  std::string kind_;
  std::vector<std::string> moment_names_;
  std::vector<Slot> slots_;
  double learning_rate_;
  std::vector<Update> updates_;        ///< of one step; kept for its memory
  std::vector<std::size_t> recorded_;  ///< slots of a recorded step
  std::vector<Recorded> prepared_;     ///< all slots, when it was prepared
  Tensor rates_;                       ///< [slots, rates_per_slot] f64, on the device
};

struct AdamOptions {
  double learning_rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double l2 = 0;     ///< added to the gradient
  double decay = 0;  ///< AdamW: decoupled weight decay
};

/// Adam (Kingma and Ba, 2015), and with `decay` AdamW (Loshchilov and Hutter, 2019).
///
///   g = gradient + l2 * p;  m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
///   p -= learning_rate * ( m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon) + decay * p )
/// with t = updates of this parameter. Throws OptionError unless rates are >= 0, betas in [0,1) and
/// epsilon > 0.
class REFRAIN_API Adam final : public Optimizer {
 public:
  explicit Adam(const std::vector<NamedParameter>& parameters, AdamOptions options = {});
  explicit Adam(Module& module, AdamOptions options = {}) : Adam(module.parameters(), options) {}

 private:
  void update(std::span<const Update> updates) override;
  void set_rates(const Slot& slot, double* rates) const override;

  AdamOptions options_;
  std::vector<kernels::Adam> dense_;  ///< of one step and device; kept for their memory
  std::vector<kernels::AdamRows> sparse_;
};

struct SgdOptions {
  double learning_rate = 0.1;
  double momentum = 0;
  double l2 = 0;  ///< added to the gradient
};

/// Stochastic gradient descent: g = gradient + l2 * p; velocity = momentum * velocity + g; p -=
/// learning_rate * velocity.
///
/// With momentum a row-sparse gradient is made dense first, since every row's velocity moves.
/// Throws OptionError unless rates are >= 0 and momentum is in [0,1).
class REFRAIN_API Sgd final : public Optimizer {
 public:
  explicit Sgd(const std::vector<NamedParameter>& parameters, SgdOptions options = {});
  explicit Sgd(Module& module, SgdOptions options = {}) : Sgd(module.parameters(), options) {}

 private:
  void update(std::span<const Update> updates) override;
  void set_rates(const Slot& slot, double* rates) const override;

  SgdOptions options_;
};

}  // namespace refrain
