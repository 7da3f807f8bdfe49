#include "refrain/kernels/optimizer.hpp"
#include "refrain/kernels/pointwise.hpp"
#include "refrain/train/optimizer.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "refrain/kernels/run.hpp"

namespace refrain {
namespace {

void check_rate(const char* what, double value) {
  if (!(value >= 0 && std::isfinite(value)))
    throw OptionError(detail::concat(what, ": expected a number >= 0, got ", value));
}

void check_fraction(const char* what, double value) {
  if (!(value >= 0 && value < 1))
    throw OptionError(detail::concat(what, ": expected a number in [0, 1), got ", value));
}

double sum_of_squares(const Tensor& x) {
  Tensor out({}, x.dtype(), x.device());
  kernels::run(kernels::Dot{.a = x, .b = x, .out = out});
  return out.item();
}

/// factor * x; writes in place when no other tensor shares the elements. Two leaves may share their
/// first gradient, which a leaf stores without a copy.
Tensor scaled(Tensor x, double factor) {
  Tensor out = x.unique() ? x : Tensor(x.shape(), x.dtype(), x.device());
  kernels::run(kernels::LinearCombination{.a = x, .out = out, .alpha = factor});
  return out;
}

/// factor * x with a factor of one element.
Tensor scaled(Tensor x, const Tensor& factor) {
  Tensor out = x.unique() ? x : Tensor(x.shape(), x.dtype(), x.device());
  kernels::run(kernels::Multiply{.a = x, .b = factor, .out = out});
  return out;
}

template <class Factor>
void scale_gradient(Gradient& gradient, const Factor& factor) {
  if (gradient.is_sparse()) {
    RowSparse sparse = gradient.sparse();
    gradient.clear();
    sparse.values = scaled(std::move(sparse.values), factor);
    gradient.add(std::move(sparse));
  } else {
    Tensor dense = gradient.dense();
    gradient.clear();
    gradient.add(scaled(std::move(dense), factor));
  }
}

/// The elements of a gradient: those of its rows when it is row-sparse.
const Tensor& elements(const Gradient& gradient) {
  return gradient.is_sparse() ? gradient.sparse().values : gradient.dense();
}

}  // namespace

Optimizer::Optimizer(std::string kind, std::vector<std::string> moment_names,
                     const std::vector<NamedParameter>& parameters, double learning_rate, double l2)
    : kind_(std::move(kind)),
      moment_names_(std::move(moment_names)),
      learning_rate_(learning_rate) {
  check_rate("learning_rate", learning_rate);
  check_rate("l2", l2);
  for (const NamedParameter& named : parameters) {
    const auto known = std::find_if(slots_.begin(), slots_.end(), [&](const Slot& slot) {
      return slot.parameter.is(*named.parameter);
    });
    if (known == slots_.end()) {
      slots_.push_back({.name = named.name,
                        .parameter = *named.parameter,
                        .l2 = l2,
                        .decay = named.decay,
                        .updates = 0,
                        .moments = {}});
    } else if (named.decay == WeightDecay::applied) {
      known->decay = WeightDecay::applied;
    }
  }
}

void Optimizer::check_fits(const Slot& slot) {
  const Gradient& gradient = slot.parameter.gradient();
  gradient.is_sparse()
      ? detail::check_gradient(slot.name, gradient.sparse(), slot.parameter.value())
      : detail::check_gradient(slot.name, gradient.dense(), slot.parameter.value());
}

void Optimizer::step() {
  updates_.clear();
  for (Slot& slot : slots_) {
    if (slot.parameter.is_frozen()) {
      slot.updates = 0;
      slot.moments.clear();
      continue;
    }
    if (!slot.parameter.gradient().defined()) continue;
    check_fits(slot);
    for (Tensor& moment : slot.moments) {
      if (moment.device() != slot.parameter.device()) moment = moment.to(slot.parameter.device());
    }
    while (slot.moments.size() < moment_names_.size()) {
      slot.moments.push_back(
          Tensor::zeros(slot.parameter.shape(), slot.parameter.dtype(), slot.parameter.device()));
    }
    ++slot.updates;
    updates_.push_back({&slot, {}});
  }
  update(updates_);
}

void Optimizer::prepare_capture() {
  captured_.clear();
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (!is_due(slots_[i])) continue;
    if (slots_[i].updates == 0) {
      throw Error(detail::concat("prepare_capture: '", slots_[i].name,
                                 "' has no optimizer state; run one step without capture first"));
    }
    captured_.push_back(i);
  }
  if (captured_.empty())
    throw Error("prepare_capture: no parameter has a gradient; run one step without capture first");
  const Device device = slots_[captured_.front()].parameter.device();
  rates_ = Tensor({static_cast<std::int64_t>(slots_.size()), rates_per_slot}, DType::f64, device);
  prepared_.clear();
  for (const Slot& slot : slots_) prepared_.push_back(captured_slot(slot));
}

Optimizer::CapturedSlot Optimizer::captured_slot(const Slot& slot) {
  std::vector<const void*> moments;
  for (const Tensor& moment : slot.moments) moments.push_back(moment.raw());
  return {slot.parameter.is_frozen(), slot.parameter.value().raw(), std::move(moments), slot.l2};
}

bool Optimizer::capture_fits() const {
  return std::equal(slots_.begin(), slots_.end(), prepared_.begin(), prepared_.end(),
                    [](const Slot& slot, const CapturedSlot& prepared) {
                      return captured_slot(slot) == prepared;
                    });
}

void Optimizer::advance_captured() {
  Tensor rates = Tensor::zeros(rates_.shape(), DType::f64);
  for (const std::size_t i : captured_) {
    ++slots_[i].updates;
    set_rates(slots_[i], rates.data<double>() + static_cast<std::int64_t>(i) * rates_per_slot);
  }
  rates_.copy_from(rates);
}

void Optimizer::step_captured() {
  std::size_t next = 0;
  updates_.clear();
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    const bool captured = next < captured_.size() && captured_[next] == i;
    if (is_due(slots_[i]) != captured) {
      throw Error(detail::concat("step_captured: '", slots_[i].name,
                                 captured ? "' has no gradient" : "' has a gradient",
                                 ", in contrast to prepare_capture"));
    }
    if (!captured) continue;
    ++next;
    const auto row = static_cast<std::int64_t>(i);
    updates_.push_back({&slots_[i], rates_.slice(row, row + 1)});
  }
  update(updates_);
}

void Optimizer::zero_grad() {
  for (Slot& slot : slots_) slot.parameter.zero_grad();
}

std::vector<Gradient> Optimizer::take_gradients() {
  std::vector<Gradient> gradients;
  gradients.reserve(slots_.size());
  for (Slot& slot : slots_) gradients.push_back(std::exchange(slot.parameter.gradient(), {}));
  return gradients;
}

void Optimizer::put_gradients(std::vector<Gradient> gradients) {
  if (gradients.size() != slots_.size()) {
    throw OptionError(detail::concat("put_gradients: expected ", slots_.size(),
                                     " gradients, one for each parameter, got ", gradients.size()));
  }
  for (std::size_t i = 0; i < slots_.size(); ++i)
    slots_[i].parameter.gradient() = std::move(gradients[i]);
}

std::vector<Shape> Optimizer::shapes() const {
  std::vector<Shape> shapes;
  for (const Slot& slot : slots_) shapes.push_back(slot.parameter.value().shape());
  return shapes;
}

double Optimizer::clip_gradients(double max_norm) {
  if (!(max_norm > 0))
    throw OptionError(detail::concat("clip_gradients: expected max_norm > 0, got ", max_norm));
  double squares = 0;
  const auto has_gradient = [](const Slot& slot) {
    return !slot.parameter.is_frozen() && slot.parameter.gradient().defined();
  };
  for (const Slot& slot : slots_) {
    if (!has_gradient(slot)) continue;
    squares += sum_of_squares(elements(slot.parameter.gradient()));
  }
  const double norm = std::sqrt(squares);
  if (!std::isfinite(norm) || norm <= max_norm) return norm;
  for (Slot& slot : slots_) {
    if (has_gradient(slot)) scale_gradient(slot.parameter.gradient(), max_norm / norm);
  }
  return norm;
}

Tensor Optimizer::clip_gradients_on_device(double max_norm) {
  if (!(max_norm > 0))
    throw OptionError(
        detail::concat("clip_gradients_on_device: expected max_norm > 0, got ", max_norm));
  std::vector<Gradient*> gradients;
  for (Slot& slot : slots_) {
    if (!slot.parameter.is_frozen() && slot.parameter.gradient().defined())
      gradients.push_back(&slot.parameter.gradient());
  }
  if (gradients.empty()) return {};
  const Tensor& like = elements(*gradients.front());
  for (const Gradient* gradient : gradients) {
    const Tensor& values = elements(*gradient);
    if (values.dtype() != like.dtype()) {
      throw DTypeError(
          detail::concat("clip_gradients_on_device: expected gradients of one dtype, got ",
                         like.dtype(), " and ", values.dtype()));
    }
    if (values.device() != like.device()) {
      throw DeviceError(
          detail::concat("clip_gradients_on_device: expected gradients on one device, got ",
                         like.device(), " and ", values.device()));
    }
  }
  const auto count = static_cast<std::int64_t>(gradients.size());
  Tensor squares({count}, like.dtype(), like.device());
  for (std::int64_t i = 0; i < count; ++i) {
    const Tensor& values = elements(*gradients[static_cast<std::size_t>(i)]);
    Tensor sum = squares.slice(i, i + 1);
    kernels::run(kernels::Dot{.a = values, .b = values, .out = sum});
  }
  Tensor norm({}, like.dtype(), like.device());
  Tensor factor({}, like.dtype(), like.device());
  kernels::run(kernels::ClipFactor{
      .squares = squares, .norm = norm, .factor = factor, .max_norm = max_norm});
  for (Gradient* gradient : gradients) scale_gradient(*gradient, factor);
  return norm;
}

void Optimizer::set_learning_rate(double rate) {
  check_rate("learning_rate", rate);
  learning_rate_ = rate;
}

void Optimizer::set_l2(std::string_view pattern, double l2) {
  check_rate("l2", l2);
  bool found = false;
  for (Slot& slot : slots_) {
    if (!detail::matches(pattern, slot.name)) continue;
    slot.l2 = l2;
    found = true;
  }
  if (!found) throw OptionError(detail::concat("Optimizer: no parameter matches '", pattern, "'"));
}

std::int64_t Optimizer::trainable_count() const {
  std::int64_t count = 0;
  for (const Slot& slot : slots_) {
    if (!slot.parameter.is_frozen()) count += slot.parameter.value().numel();
  }
  return count;
}

std::int64_t Optimizer::state_bytes() const {
  std::int64_t bytes = 0;
  for (const Slot& slot : slots_) {
    for (const Tensor& moment : slot.moments) bytes += static_cast<std::int64_t>(moment.bytes());
  }
  return bytes;
}

Adam::Adam(const std::vector<NamedParameter>& parameters, AdamOptions options)
    : Optimizer("adam", {"m", "v"}, parameters, options.learning_rate, options.l2),
      options_(options) {
  check_fraction("Adam: beta1", options.beta1);
  check_fraction("Adam: beta2", options.beta2);
  check_rate("Adam: decay", options.decay);
  if (!(options.epsilon > 0))
    throw OptionError(
        detail::concat("Adam: epsilon: expected a number > 0, got ", options.epsilon));
}

void Adam::set_rates(const Slot& slot, double* rates) const {
  const double step = static_cast<double>(slot.updates);
  rates[0] = learning_rate();
  rates[1] = 1 / (1 - std::pow(options_.beta1, step));
  rates[2] = 1 / (1 - std::pow(options_.beta2, step));
}

void Adam::update(std::span<const Update> updates) {
  for (const Device device : {Device::cpu, Device::cuda}) {
    dense_.clear();
    sparse_.clear();
    for (const Update& update : updates) {
      Slot* const slot = update.slot;
      Parameter& parameter = slot->parameter;
      if (parameter.device() != device) continue;
      const auto with_state = [&](auto args) {
        args.parameter = parameter.value();
        args.m = slot->moments[0];
        args.v = slot->moments[1];
        args.learning_rate = learning_rate();
        args.beta1 = options_.beta1;
        args.beta2 = options_.beta2;
        args.epsilon = options_.epsilon;
        args.l2 = slot->l2;
        args.step = slot->updates;
        args.rates = update.rates;
        return args;
      };
      if (parameter.gradient().is_sparse()) {
        const RowSparse& gradient = parameter.gradient().sparse();
        sparse_.push_back(
            with_state(kernels::AdamRows{.rows = gradient.rows, .values = gradient.values}));
      } else {
        dense_.push_back(with_state(
            kernels::Adam{.gradient = parameter.gradient().dense(),
                          .decay = slot->decay == WeightDecay::applied ? options_.decay : 0}));
      }
    }
    if (dense_.empty() && sparse_.empty()) continue;
    kernels::run(kernels::AdamMany{.dense = dense_, .sparse = sparse_});
  }
}

Sgd::Sgd(const std::vector<NamedParameter>& parameters, SgdOptions options)
    : Optimizer(
          "sgd",
          options.momentum > 0 ? std::vector<std::string>{"velocity"} : std::vector<std::string>{},
          parameters, options.learning_rate, options.l2),
      options_(options) {
  check_fraction("Sgd: momentum", options.momentum);
}

void Sgd::set_rates(const Slot&, double* rates) const { rates[0] = learning_rate(); }

void Sgd::update(std::span<const Update> updates) {
  for (const auto& [slot, rates] : updates) {
    Parameter& parameter = slot->parameter;
    const Gradient& gradient = parameter.gradient();
    if (gradient.is_sparse() && options_.momentum == 0) {
      kernels::run(kernels::SgdRows{.parameter = parameter.value(),
                                    .rows = gradient.sparse().rows,
                                    .values = gradient.sparse().values,
                                    .learning_rate = learning_rate(),
                                    .l2 = slot->l2,
                                    .rates = rates});
      continue;
    }
    const Tensor dense = gradient.to_dense(parameter.shape());
    kernels::run(kernels::Sgd{
        .parameter = parameter.value(),
        .gradient = dense,
        .velocity = slot->moments.empty() ? MutableView() : slot->moments[0].mutable_view(),
        .learning_rate = learning_rate(),
        .momentum = options_.momentum,
        .l2 = slot->l2,
        .rates = rates});
  }
}

}  // namespace refrain
