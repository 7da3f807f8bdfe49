#include "refrain/train/trainer.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>

namespace refrain {

double Trainer::now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Trainer::Trainer(Module& model, Optimizer& optimizer, TrainerOptions options)
    : model_(model), optimizer_(optimizer), options_(std::move(options)) {
  if (options_.epochs < 0)
    throw OptionError(concat("Trainer: expected epochs >= 0, got ", options_.epochs));
  if (options_.steps_per_epoch < 1) {
    throw OptionError(
        concat("Trainer: expected steps_per_epoch >= 1, got ", options_.steps_per_epoch));
  }
  if (!(options_.max_norm >= 0))
    throw OptionError(concat("Trainer: expected max_norm >= 0, got ", options_.max_norm));
  if (options_.patience < 0)
    throw OptionError(concat("Trainer: expected patience >= 0, got ", options_.patience));
  constexpr std::int64_t most_pending = 1 << 20;
  if (options_.pending_losses < 0 || options_.pending_losses > most_pending) {
    throw OptionError(concat("Trainer: expected pending_losses from 0 to ", most_pending, ", got ",
                             options_.pending_losses));
  }
  if (options_.capture_after < 0) {
    throw OptionError(concat("Trainer: expected capture_after >= 0, got ", options_.capture_after));
  }
}

void Trainer::keep(const std::string& name, Random& random) {
  for (const auto& [known, stream] : randoms_) {
    if (known == name)
      throw OptionError(concat("Trainer: there is a random stream '", name, "' already"));
  }
  randoms_.emplace_back(name, &random);
}

void Trainer::begin_step() {
  optimizer_.zero_grad();
  set_rate();
}

void Trainer::set_rate() {
  if (options_.schedule) optimizer_.set_learning_rate(options_.schedule(position_.total_steps));
}

namespace {

void expect_finite(const StepReport& report) {
  const bool loss = std::isfinite(report.loss);
  if (loss && std::isfinite(report.gradient_norm)) return;
  throw Error(concat("training: the ", loss ? "norm of the gradients" : "loss", " is ",
                     loss ? report.gradient_norm : report.loss, " in step ", report.step,
                     " of epoch ", report.epoch, "; a smaller learning rate or clipping may help"));
}

template <class T>
bool all_finite(const Tensor& tensor) {
  const T* const values = tensor.data<T>();
  return std::all_of(values, values + tensor.numel(), [](T value) { return std::isfinite(value); });
}

/// A state with such parameters would be of no use, and would take the place of one that is.
void expect_finite(const TensorMap& parameters, const std::string& path) {
  for (const auto& [name, tensor] : parameters) {
    const Tensor here = tensor.to(Device::cpu);
    if (here.dtype() == DType::f64 ? all_finite<double>(here)
                                   : here.dtype() != DType::f32 || all_finite<float>(here))
      continue;
    throw Error(concat("training: ", name, " is no longer finite; ", path, " is not written"));
  }
}

/// A number of a tensor of this type, at `bytes`.
double number_at(const char* bytes, DType dtype) {
  if (dtype == DType::f64) {
    double value = 0;
    std::memcpy(&value, bytes, sizeof value);
    return value;
  }
  float value = 0;
  std::memcpy(&value, bytes, sizeof value);
  return static_cast<double>(value);
}

constexpr std::size_t figure_bytes = 8;  ///< of a loss or a norm

}  // namespace

void Trainer::end_step(double loss) {
  StepReport step{
      .epoch = position_.epoch, .step = position_.step, .loss = loss, .gradient_norm = 0};
  expect_finite(step);
  if (options_.max_norm > 0) {
    step.gradient_norm = optimizer_.clip_gradients(options_.max_norm);
    expect_finite(step);
  }
  optimizer_.step();
  advance();
  report(step);
  if (options_.checkpoint_seconds > 0 && now_seconds() - saved_at_ >= options_.checkpoint_seconds)
    save_if_asked();
}

void Trainer::advance() {
  ++position_.step;
  ++position_.total_steps;
}

void Trainer::report(const StepReport& report) {
  position_.loss_sum += report.loss;
  if (on_step_) on_step_(report);
}

void Trainer::queue_update(const Tensor& loss) {
  const Tensor norm =
      options_.max_norm > 0 ? optimizer_.clip_gradients_on_device(options_.max_norm) : Tensor();
  optimizer_.step();
  queue_report(loss, norm);
}

/// Counts the step and sends its figures on their way.
void Trainer::queue_report(const Tensor& loss, const Tensor& norm) {
  const std::size_t places = static_cast<std::size_t>(options_.pending_losses) + 1;
  if (figures_.data() == nullptr) figures_ = PinnedBuffer(2 * figure_bytes * places, loss.device());
  const std::size_t at = static_cast<std::size_t>(queued_steps_++) % places * 2 * figure_bytes;
  figures_.fetch(loss.raw(), at, loss.bytes());
  if (norm.defined()) figures_.fetch(norm.raw(), at + figure_bytes, norm.bytes());
  pending_.push_back({.report = {.epoch = position_.epoch, .step = position_.step},
                      .dtype = loss.dtype(),
                      .clipped = norm.defined(),
                      .known = Event(loss.device())});
  pending_.back().known.record();
  advance();
  if (options_.checkpoint_seconds > 0 && now_seconds() - saved_at_ >= options_.checkpoint_seconds) {
    settle(0);
    save_if_asked();
  }
}

/// Looks at the losses that are known, and waits for the oldest until at most `allowed` are left.
void Trainer::settle(std::size_t allowed) {
  while (!pending_.empty() && (pending_.size() > allowed || pending_.front().known.has_passed())) {
    pending_.front().known.synchronize();
    const Pending step = std::move(pending_.front());
    const std::size_t places = static_cast<std::size_t>(options_.pending_losses) + 1;
    const std::size_t number = static_cast<std::size_t>(queued_steps_) - pending_.size();
    pending_.pop_front();
    const char* figures =
        static_cast<const char*>(figures_.data()) + number % places * 2 * figure_bytes;
    StepReport known = step.report;
    known.loss = number_at(figures, step.dtype);
    if (step.clipped) known.gradient_norm = number_at(figures + figure_bytes, step.dtype);
    expect_finite(known);
    report(known);
  }
}

bool Trainer::is_better(double metric) const noexcept {
  if (std::isnan(metric)) return false;
  if (position_.best_epoch < 0) return true;
  return options_.larger_is_better ? metric > position_.best_metric
                                   : metric < position_.best_metric;
}

void Trainer::remember_best() {
  for (const ConstNamedParameter& named : std::as_const(model_).parameters()) {
    if (named.parameter->is_frozen()) continue;
    const auto [at, is_new] = best_.try_emplace(named.name);
    if (is_new) {
      at->second = named.parameter->value().clone();
    } else {
      at->second.copy_from(named.parameter->value());
    }
  }
}

void Trainer::end_epoch(double metric, double evaluation_seconds) {
  const bool best = is_better(metric);
  if (best) {
    position_.best_metric = metric;
    position_.best_epoch = position_.epoch;
    position_.worse_evaluations = 0;
    if (options_.restore_best) remember_best();
  } else {
    ++position_.worse_evaluations;
  }
  const EpochReport report{
      .epoch = position_.epoch,
      .loss = position_.loss_sum / static_cast<double>(options_.steps_per_epoch),
      .metric = metric,
      .is_best = best,
      .training_seconds = now_seconds() - evaluation_seconds - epoch_began_,
      .evaluation_seconds = evaluation_seconds,
      .learning_rate = optimizer_.learning_rate()};
  ++position_.epoch;
  position_.step = 0;
  position_.loss_sum = 0;
  save_if_asked();
  if (on_epoch_) on_epoch_(report);
}

TrainingResult Trainer::finish(TrainingEnd end) {
  settle(0);
  optimizer_.zero_grad();
  model_.eval();
  if (end == TrainingEnd::interrupted) {
    save_if_asked();
  } else {
    for (const auto& [name, tensor] : best_) model_.parameter(name).value().copy_from(tensor);
  }
  return {.end = end, .position = position_};
}

void Trainer::save_if_asked() {
  if (options_.checkpoint.empty()) return;
  save(options_.checkpoint);
  saved_at_ = now_seconds();
}

void Trainer::save(const std::string& path) const {
  TrainingState state;
  state.model = tensors_of(model_);
  expect_finite(state.model, path);
  state.optimizer = optimizer_.state();
  state.best = best_;
  for (const auto& [name, random] : randoms_) state.randoms[name] = random->state();
  state.counters = {{"epoch", position_.epoch},
                    {"step", position_.step},
                    {"total_steps", position_.total_steps},
                    {"steps_per_epoch", options_.steps_per_epoch},
                    {"best_epoch", position_.best_epoch},
                    {"worse_evaluations", position_.worse_evaluations}};
  state.figures = {{"loss_sum", position_.loss_sum}, {"best_metric", position_.best_metric}};
  state.metadata = options_.metadata;
  save_training(path, state);
}

void Trainer::resume(const std::string& path) {
  TrainingState state = load_training(path);
  const auto counter = [&](const char* name) {
    const auto found = state.counters.find(name);
    if (found == state.counters.end())
      throw DataError(path, 0, concat("has no counter '", name, "'"));
    return found->second;
  };
  const auto figure = [&](const char* name) {
    const auto found = state.figures.find(name);
    if (found == state.figures.end())
      throw DataError(path, 0, concat("has no figure '", name, "'"));
    return found->second;
  };
  const TrainingPosition position{.epoch = counter("epoch"),
                                  .step = counter("step"),
                                  .total_steps = counter("total_steps"),
                                  .loss_sum = figure("loss_sum"),
                                  .best_metric = figure("best_metric"),
                                  .best_epoch = counter("best_epoch"),
                                  .worse_evaluations = counter("worse_evaluations")};
  if (counter("steps_per_epoch") != options_.steps_per_epoch) {
    throw DataError(path, 0,
                    concat("was saved by a run of ", counter("steps_per_epoch"),
                           " steps an epoch; this one has ", options_.steps_per_epoch));
  }
  if (state.randoms.size() != randoms_.size()) {
    throw DataError(
        path, 0,
        concat("holds ", state.randoms.size(), " random streams, expected ", randoms_.size()));
  }
  for (const auto& [name, random] : randoms_) {
    if (state.randoms.find(name) == state.randoms.end())
      throw DataError(path, 0, concat("has no random stream '", name, "'"));
  }
  TensorMap trainable;
  for (const ConstNamedParameter& named : std::as_const(model_).parameters()) {
    if (!named.parameter->is_frozen()) trainable[named.name] = named.parameter->value().clone();
  }
  if (!state.best.empty()) assign_tensors(trainable, state.best, path);
  try {
    optimizer_.load_state(state.optimizer);
  } catch (const Error& error) {
    throw DataError(path, 0, concat("does not fit the optimizer: ", error.what()));
  }
  assign_tensors(tensors_of(model_), state.model, path);
  for (const auto& [name, random] : randoms_) *random = Random(state.randoms.find(name)->second);
  best_ = std::move(state.best);
  position_ = position;
}

}  // namespace refrain
