#pragma once
/// Optimizers: they update parameters from gradients.

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
/// An optimizer keeps handles on its parameters, so the module may move. A step updates those that
/// are not frozen and have a gradient; a parameter named twice (tied layers) is updated once. State
/// (moments and the number of updates) is created at the first update of a parameter:
///  - a frozen parameter has none; freezing one later drops its state at the next step, unfreezing
///    starts with a new state;
///  - a parameter without a gradient in a step keeps its state and its update count.
/// Row-sparse gradients update only their rows (lazily): other rows and their moments do not
/// change. The update count belongs to the parameter, not to the row, so a row that first occurs in
/// a late step gets the bias correction of that step. After the first update of each parameter, a
/// step makes no system calls for memory.
class REFRAIN_API Optimizer {
 public:
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  /// Updates the parameters from their gradients, which stay until zero_grad(). Throws ShapeError,
  /// DTypeError or DeviceError when a gradient does not match its parameter.
  void step();

  /// Drops the gradients.
  void zero_grad();

  /// Moves the gradients out of the parameters, which then have none: one for each parameter, in a
  /// fixed order; undefined where a parameter has none.
  std::vector<Gradient> take_gradients();
  /// Sets the gradients of all parameters, in the order of take_gradients(). Throws OptionError for
  /// another number of gradients.
  void put_gradients(std::vector<Gradient> gradients);
  /// The shapes of all parameters, in the order of take_gradients().
  std::vector<Shape> shapes() const;

  /// Support for a training step that is captured once and replayed (see CapturedWork): values that
  /// change from step to step are read from device memory.
  ///
  ///   // After a step without capture, which determines the parameters:
  ///   optimizer.prepare_capture();
  ///   CapturedWork work(device, [&] { ...; optimizer.step_captured(); });
  ///   for (...) { optimizer.advance_captured(); work.run(); }
  ///
  /// advance_captured() counts a step and sends the learning rate and Adam's corrections to the
  /// device. step_captured() throws Error when the set of parameters with gradients differs from
  /// that of prepare_capture(). The results are those of step(). When capture_fits() is false,
  /// because parameters were frozen, unfrozen or moved, L2 was changed or a state was loaded, the
  /// step must be captured again.
  void prepare_capture();
  /// True when the captured step still matches the parameters and their state.
  bool capture_fits() const;
  /// Counts a step and updates the values in device memory; called before each replay.
  void advance_captured();
  /// The update inside the capture.
  void step_captured();

  /// Scales all gradients by max_norm / norm when norm > max_norm: norm = sqrt(sum of squares over
  /// all elements of all parameters). Returns the norm before scaling; sums in a fixed order. A
  /// norm that is not finite is returned and nothing is scaled. Waits for the device of the
  /// gradients. Throws OptionError unless max_norm > 0.
  double clip_gradients(double max_norm);

  /// clip_gradients() without waiting: the norm, of one element, stays on the device
  /// (kernels::ClipFactor). Undefined when there are no gradients. Throws OptionError, and
  /// DTypeError or DeviceError unless all gradients have one dtype and device.
  Tensor clip_gradients_on_device(double max_norm);

  double learning_rate() const noexcept { return learning_rate_; }
  /// Throws OptionError unless rate >= 0.
  void set_learning_rate(double rate);

  /// Sets L2 for the parameters whose name matches the pattern: g = gradient + l2 * parameter; for
  /// a row-sparse gradient only in its rows. Throws OptionError when none matches or l2 < 0.
  void set_l2(std::string_view pattern, double l2);

  /// Number of scalars that step() updates when every parameter has a gradient.
  std::int64_t trainable_count() const;

  /// Memory of the moments in bytes.
  std::int64_t state_bytes() const;

  /// The state by name, sharing storage with the optimizer: "adam.m.<parameter>",
  /// "adam.v.<parameter>", "adam.updates.<parameter>" (i64 []). Options are not part of the state:
  /// a resumed run constructs its optimizer with the same options.
  TensorMap state() const;

  /// Sets the state() of the same parameters; parameters without entries have no state afterwards.
  /// Throws OptionError, ShapeError or DTypeError and changes nothing when a name, shape or dtype
  /// does not fit.
  void load_state(const TensorMap& state);

 protected:
  /// A parameter and its state.
  struct Slot {
    std::string name;
    Parameter parameter;
    double l2 = 0;
    WeightDecay decay = WeightDecay::applied;
    std::int64_t updates = 0;  ///< steps that changed this parameter; 0: no state
    std::vector<Tensor> moments;
  };

  /// `moment_names`: names of the moments in state(), such as "adam.m".
  Optimizer(std::string kind, std::vector<std::string> moment_names,
            const std::vector<NamedParameter>& parameters, double learning_rate, double l2);

  static constexpr std::int64_t rates_per_slot = 3;

  /// A parameter to update. slot->updates includes this update, and the moments exist.
  struct Update {
    Slot* slot;
    View rates;  ///< empty, or the output of set_rates() on the device
  };

  /// Updates all parameters of a step.
  virtual void update(std::span<const Update> updates) = 0;

  /// The values that a kernel reads from device memory, at most rates_per_slot.
  virtual void set_rates(const Slot& slot, double* rates) const = 0;

 private:
  /// The properties of a slot that a captured step depends on.
  struct CapturedSlot {
    bool is_frozen;
    const void* value;
    std::vector<const void*> moments;
    double l2;
    friend bool operator==(const CapturedSlot&, const CapturedSlot&) = default;
  };

  static CapturedSlot captured_slot(const Slot& slot);
  static void check_fits(const Slot& slot);
  bool is_due(const Slot& slot) const {
    return !slot.parameter.is_frozen() && slot.parameter.gradient().defined();
  }

  std::string kind_;
  std::vector<std::string> moment_names_;
  std::vector<Slot> slots_;
  double learning_rate_;
  std::vector<Update> updates_;         ///< updates of one step; a member to reuse its memory
  std::vector<std::size_t> captured_;   ///< slots of a captured step
  std::vector<CapturedSlot> prepared_;  ///< all slots, at prepare_capture()
  Tensor rates_;                        ///< [slots, rates_per_slot] f64, on the device
};

/// Options of Adam.
struct AdamOptions {
  double learning_rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double l2 = 0;     ///< added to the gradient
  double decay = 0;  ///< AdamW: decoupled weight decay of dense weights, see Adam
};

/// Adam (Kingma and Ba, 2015), and with `decay` AdamW (Loshchilov and Hutter, 2019).
///
///   g = gradient + l2 * p;  m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
///   p -= learning_rate * ( m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon) + decay * p )
/// with t = updates of this parameter. `decay` acts on a parameter that its module does not exempt
/// (WeightDecay), in a step in which its gradient is dense. A table with a row-sparse gradient does
/// not decay: its rows would decay as often as they occur. A table that is tied to an output layer
/// over all items has a dense gradient and decays. A parameter named twice is exempt only if both
/// places exempt it. Dtypes f32, f64; devices cpu, cuda. Throws OptionError unless rates are >= 0,
/// betas in [0,1) and epsilon > 0.
class REFRAIN_API Adam final : public Optimizer {
 public:
  explicit Adam(const std::vector<NamedParameter>& parameters, AdamOptions options = {});
  explicit Adam(Module& module, AdamOptions options = {}) : Adam(module.parameters(), options) {}

 private:
  void update(std::span<const Update> updates) override;
  void set_rates(const Slot& slot, double* rates) const override;

  AdamOptions options_;
  /// updates of one step on a device; a member to reuse its memory
  std::vector<kernels::Adam> dense_;
  std::vector<kernels::AdamRows> sparse_;
};

/// Options of Sgd.
struct SgdOptions {
  double learning_rate = 0.1;
  double momentum = 0;
  double l2 = 0;  ///< added to the gradient
};

/// Stochastic gradient descent: g = gradient + l2 * p; velocity = momentum * velocity + g; p -=
/// learning_rate * velocity.
///
/// With momentum a row-sparse gradient is converted to a dense one, since the velocity of every row
/// changes. Throws OptionError unless rates are >= 0 and momentum is in [0,1).
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
