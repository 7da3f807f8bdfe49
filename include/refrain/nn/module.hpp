#pragma once
/// Parameters, and modules as trees of layers.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "refrain/autograd/tape.hpp"
#include "refrain/core/export.hpp"
#include "refrain/core/random.hpp"

namespace refrain {

/// A Variable that a layer owns and an optimizer updates.
class Parameter : public Variable {
 public:
  Parameter() = default;
  explicit Parameter(Tensor value) : Variable(std::move(value), true) {}

  /// A parameter whose elements are uninitialized until load_model() or load_patch() fills them.
  /// Until then nothing may read the elements; saving and hashing throw.
  static Parameter unfilled(Tensor storage) {
    Parameter parameter(std::move(storage));
    parameter.is_filled_ = false;
    return parameter;
  }
  /// False until the elements of an unfilled parameter are set.
  bool is_filled() const noexcept { return is_filled_; }

  /// Sets the elements. An unfilled parameter on the CPU takes the storage of `value`; any other
  /// parameter copies the elements into its own storage, so that other handles see them. Throws
  /// ShapeError or DTypeError unless shape and dtype match.
  void fill(Tensor value) {
    if (!is_filled_ && device() == Device::cpu && value.device() == Device::cpu &&
        value.shape() == shape() && value.dtype() == dtype()) {
      this->value() = std::move(value);
    } else {
      this->value().copy_from(value);
    }
    is_filled_ = true;
  }

  /// True when the parameter gets no gradient.
  bool is_frozen() const noexcept { return !requires_grad(); }

 private:
  bool is_filled_ = true;
};

/// Whether decoupled weight decay (AdamOptions::decay) acts on a parameter. A module states it when
/// it visits the parameter. Exempt are biases, scale and shift of a normalization, and single
/// vectors that are inserted into a sequence.
enum class WeightDecay : std::uint8_t { applied, exempt };

/// A parameter and its path in the module: "blocks.0.conv1.weight".
struct NamedParameter {
  std::string name;
  Parameter* parameter;
  WeightDecay decay = WeightDecay::applied;
};

/// NamedParameter of a const module.
struct ConstNamedParameter {
  std::string name;
  const Parameter* parameter;
  WeightDecay decay = WeightDecay::applied;
};

/// A random stream and its path in the module: "blocks.0.dropout.random".
struct NamedRandom {
  std::string name;
  Random* random;
};

namespace detail {

/// True when `text` matches `pattern`, in which '*' matches any characters and '?' one character.
inline bool matches(std::string_view pattern, std::string_view text) {
  std::size_t p = 0;
  std::size_t t = 0;
  std::size_t star = std::string_view::npos;
  std::size_t resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

}  // namespace detail

/// Base of all layers and models.
///
/// A derived class passes its parameters, sub-modules and random streams with their names to the
/// visitor in `visit_members`. Names, freezing, counting, checkpoints and resumable training are
/// derived from that function. Modules are movable but not copyable: copies would silently share
/// parameters.
///
///   void visit_members(Visitor& visitor) override {
///     visitor.parameter("weight", weight_);
///     visitor.parameter("bias", bias_, WeightDecay::exempt);
///     visitor.module("norm", norm_);
///     visitor.random("noise", noise_);
///   }
class REFRAIN_API Module {
 public:
  class Visitor;

  Module() = default;
  Module(Module&&) = default;
  Module& operator=(Module&&) = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;
  virtual ~Module() = default;

  /// All parameters in the order of declaration, without undefined ones (an absent bias).
  std::vector<NamedParameter> parameters();
  std::vector<ConstNamedParameter> parameters() const;

  /// The parameter with the given name, found by a walk over all members. Throws OptionError for an
  /// unknown name.
  Parameter& parameter(std::string_view name);

  /// The random streams that layers draw from, for instance for dropout masks, in the order of
  /// declaration. They are part of the state of a resumable training (Trainer).
  std::vector<NamedRandom> randoms();

  /// Freezes the parameters whose name matches the pattern ('*' any characters, '?' one). A frozen
  /// parameter has no gradient and no optimizer state, and its elements do not change. Returns the
  /// number of matches. Throws OptionError when there are none.
  std::int64_t freeze(std::string_view pattern = "*") { return set_trainable(pattern, false); }
  /// Reverses freeze(). Returns the number of matches. Throws OptionError when there are none.
  std::int64_t unfreeze(std::string_view pattern = "*") { return set_trainable(pattern, true); }

  /// Sets training mode (dropout is active) or evaluation mode for this module and its sub-modules.
  void train(bool on = true);
  void eval() { train(false); }
  bool is_training() const noexcept { return training_; }

  /// Number of scalars in all parameters.
  std::int64_t parameter_count() const;
  /// Number of scalars in the parameters that are not frozen.
  std::int64_t trainable_count() const;

  /// Drops the gradients of all parameters.
  void zero_grad();

  /// The device of the first parameter; the CPU when there are no parameters.
  Device device() const;

  /// Moves all parameters to a device. Gradients are dropped; optimizers of these parameters follow
  /// at their next step. Throws Unsupported for an unavailable device.
  void to(Device device);

  /// Passes the members with their names to the visitor; called by the functions above.
  virtual void visit_members(Visitor& visitor) = 0;

 private:
  std::int64_t set_trainable(std::string_view pattern, bool on);

  bool training_ = true;
};

/// Receives the named members of a module.
class Module::Visitor {
 public:
  virtual ~Visitor() = default;

  /// Visits a parameter unless it is undefined; `decay` states whether weight decay acts on it.
  void parameter(std::string_view name, Parameter& parameter,
                 WeightDecay decay = WeightDecay::applied) {
    if (parameter.defined()) on_parameter(join(name), parameter, decay);
  }

  /// A stream that the module draws from in training.
  void random(std::string_view name, Random& random) { on_random(join(name), random); }

  /// Visits a sub-module and its members.
  void module(std::string_view name, Module& module) {
    const std::string before = std::exchange(prefix_, join(name));
    on_module(module);
    module.visit_members(*this);
    prefix_ = before;
  }

  /// A list of modules with the names "name.0", "name.1", ...
  template <class Modules>
  void modules(std::string_view name, Modules& list) {
    std::int64_t index = 0;
    for (auto& module : list) this->module(detail::concat(name, ".", index++), module);
  }

 protected:
  virtual void on_parameter(const std::string& name, Parameter& parameter, WeightDecay decay) = 0;
  virtual void on_random(const std::string&, Random&) {}
  virtual void on_module(Module&) {}

 private:
  std::string join(std::string_view name) const {
    return prefix_.empty() ? std::string(name) : detail::concat(prefix_, ".", name);
  }

  std::string prefix_;
};

inline std::vector<NamedParameter> Module::parameters() {
  struct Collect final : Visitor {
    std::vector<NamedParameter> found;
    void on_parameter(const std::string& name, Parameter& parameter, WeightDecay decay) override {
      found.push_back({name, &parameter, decay});
    }
  } collect;
  visit_members(collect);
  return std::move(collect.found);
}

inline std::vector<ConstNamedParameter> Module::parameters() const {
  std::vector<ConstNamedParameter> found;
  // Visiting changes nothing; it takes a mutable module so that one function serves both.
  for (NamedParameter& named : const_cast<Module*>(this)->parameters()) {
    found.push_back({std::move(named.name), named.parameter, named.decay});
  }
  return found;
}

inline std::vector<NamedRandom> Module::randoms() {
  struct Collect final : Visitor {
    std::vector<NamedRandom> found;
    void on_parameter(const std::string&, Parameter&, WeightDecay) override {}
    void on_random(const std::string& name, Random& random) override {
      found.push_back({name, &random});
    }
  } collect;
  visit_members(collect);
  return std::move(collect.found);
}

inline Parameter& Module::parameter(std::string_view name) {
  for (NamedParameter& named : parameters()) {
    if (named.name == name) return *named.parameter;
  }
  constexpr std::size_t most = 10;
  std::string known;
  std::size_t count = 0;
  for (const NamedParameter& named : parameters()) {
    if (++count <= most) known += (known.empty() ? "" : ", ") + named.name;
  }
  if (count > most) known += detail::concat(" and ", count - most, " more");
  throw OptionError(detail::concat("Module: unknown parameter '", name, "'; expected one of ",
                                   count == 0 ? "none" : known));
}

inline std::int64_t Module::set_trainable(std::string_view pattern, bool on) {
  std::int64_t matched = 0;
  for (NamedParameter& named : parameters()) {
    if (!detail::matches(pattern, named.name)) continue;
    named.parameter->set_requires_grad(on);
    ++matched;
  }
  if (matched == 0)
    throw OptionError(detail::concat("Module: no parameter matches '", pattern, "'"));
  return matched;
}

inline void Module::train(bool on) {
  struct Set final : Visitor {
    bool on;
    explicit Set(bool value) : on(value) {}
    void on_parameter(const std::string&, Parameter&, WeightDecay) override {}
    void on_module(Module& module) override { module.training_ = on; }
  } set(on);
  training_ = on;
  visit_members(set);
}

inline std::int64_t Module::parameter_count() const {
  std::int64_t count = 0;
  for (const ConstNamedParameter& named : parameters()) count += named.parameter->value().numel();
  return count;
}

inline std::int64_t Module::trainable_count() const {
  std::int64_t count = 0;
  for (const ConstNamedParameter& named : parameters()) {
    if (!named.parameter->is_frozen()) count += named.parameter->value().numel();
  }
  return count;
}

inline Device Module::device() const {
  const std::vector<ConstNamedParameter> all = parameters();
  return all.empty() ? Device::cpu : all.front().parameter->device();
}

inline void Module::to(Device device) {
  for (NamedParameter& named : parameters()) {
    named.parameter->zero_grad();
    named.parameter->value() = named.parameter->value().to(device);
  }
}

inline void Module::zero_grad() {
  for (NamedParameter& named : parameters()) named.parameter->zero_grad();
}

}  // namespace refrain
