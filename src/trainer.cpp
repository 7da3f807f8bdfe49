#include "refrain/train/trainer.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <optional>

#include "refrain/distributed/agreement.hpp"
#include "refrain/train/content_hash.hpp"
#include "run_setting.hpp"

namespace refrain {

double Trainer::now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Trainer::Trainer(Module& model, Optimizer& optimizer, TrainerOptions options)
    : model_(model),
      optimizer_(optimizer),
      options_(std::move(options)),
      pending_(options_.pending_losses) {
  set_epochs(options_.epochs);
  if (options_.steps_per_epoch < 1) {
    throw OptionError(
        detail::concat("Trainer: expected steps_per_epoch >= 1, got ", options_.steps_per_epoch));
  }
  if (!(options_.max_norm >= 0))
    throw OptionError(detail::concat("Trainer: expected max_norm >= 0, got ", options_.max_norm));
  if (options_.patience < 0)
    throw OptionError(detail::concat("Trainer: expected patience >= 0, got ", options_.patience));
  if (!(options_.plateau_margin >= 0 && std::isfinite(options_.plateau_margin))) {
    throw OptionError(detail::concat("Trainer: plateau_margin: expected a number >= 0, got ",
                                     options_.plateau_margin));
  }
  if (options_.slices < 1 || options_.slices > 65536) {
    throw OptionError(
        detail::concat("Trainer: expected slices from 1 to 65536, got ", options_.slices));
  }
  if (options_.communicator != nullptr && options_.communicator->size() == 1)
    options_.communicator = nullptr;
  if (options_.communicator != nullptr && options_.communicator->size() > options_.slices) {
    throw OptionError(detail::concat("Trainer: expected at least as many slices as ranks, ",
                                     options_.communicator->size(), ", got ", options_.slices));
  }
  if (options_.communicator != nullptr && options_.pending_losses != 0) {
    throw OptionError(detail::concat("Trainer: expected pending_losses = 0 for several ranks, got ",
                                     options_.pending_losses));
  }
  if (options_.capture_after < 0) {
    throw OptionError(
        detail::concat("Trainer: expected capture_after >= 0, got ", options_.capture_after));
  }
}

void Trainer::set_epochs(std::int64_t epochs) {
  if (epochs < 0) throw OptionError(detail::concat("Trainer: expected epochs >= 0, got ", epochs));
  options_.epochs = epochs;
}

void Trainer::keep(const std::string& name, Random& random) {
  for (const NamedRandom& known : randoms()) {
    if (known.random == &random)
      throw OptionError(detail::concat("Trainer: expected each random stream once, got '",
                                       known.name, "' again as '", name, "'"));
    if (known.name == name)
      throw OptionError(
          detail::concat("Trainer: expected distinct random streams, got '", name, "' twice"));
  }
  kept_.push_back({name, &random});
}

/// Visits the model's streams anew each time: the module may have been moved.
std::vector<NamedRandom> Trainer::randoms() const {
  std::vector<NamedRandom> all = model_.randoms();
  all.insert(all.end(), kept_.begin(), kept_.end());
  return all;
}

void Trainer::expect_one_slice() const {
  if (options_.slices == 1) return;
  throw OptionError(detail::concat("Trainer::run: expected make(epoch, step, slice) for ",
                                   options_.slices, " slices, got a function without slices"));
}

/// Throws CommunicationError when the ranks would not end with the same bytes.
void Trainer::expect_same_ranks() const {
  if (options_.communicator == nullptr) return;
  Identity own = build_identity();
  own.insert(own.end(),
             {{"slices", std::to_string(options_.slices)},
              {"epochs", std::to_string(options_.epochs)},
              {"steps per epoch", std::to_string(options_.steps_per_epoch)},
              {"patience", std::to_string(options_.patience)},
              {"plateau margin", detail::concat(options_.plateau_margin)},
              {"maximum norm", detail::concat(options_.max_norm)},
              {"learning rate", detail::concat(optimizer_.learning_rate())},
              {"device", name(model_.device())},
              {"position", detail::concat("epoch ", position_.epoch, ", step ", position_.step)},
              {"parameters", content_hash(model_)},
              {"optimizer state", content_hash(optimizer_.state())}});
  if (options_.schedule) {
    const std::int64_t steps = options_.epochs * options_.steps_per_epoch;
    for (const std::int64_t step :
         {std::int64_t{0}, steps / 2, std::max(steps, std::int64_t{1}) - 1})
      own.emplace_back(detail::concat("learning rate of step ", step),
                       detail::concat(options_.schedule(step)));
  }
  for (const NamedRandom& stream : randoms()) {
    const RandomState state = stream.random->state();
    own.emplace_back(
        detail::concat("random stream ", stream.name),
        detail::concat("seed ", state.seed, ", stream ", state.stream, " at ", state.position));
  }
  for (const auto& [name, value] : options_.setting) own.emplace_back("setting " + name, value);
  handshake(*options_.communicator, own);
}

bool Trainer::stop_requested() const {
  const bool own = InterruptGuard::requested();
  return options_.communicator == nullptr ? own
                                          : any_bits(*options_.communicator, own ? 1 : 0) != 0;
}

/// The metric of rank 0, so that all ranks decide alike.
double Trainer::agreed(double metric) const {
  if (options_.communicator != nullptr)
    options_.communicator->broadcast(std::as_writable_bytes(std::span(&metric, 1)));
  return metric;
}

/// The dtype of the model and its losses.
DType Trainer::dtype() const {
  const std::vector<ConstNamedParameter> all = std::as_const(model_).parameters();
  return all.empty() ? DType::f32 : all.front().parameter->dtype();
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
  throw DivergedError(detail::concat("training: the ", loss ? "norm of the gradients" : "loss",
                                     " is ", loss ? report.gradient_norm : report.loss, " in step ",
                                     report.step, " of epoch ", report.epoch,
                                     "; try a smaller learning rate or clipping"));
}

template <class T>
bool all_finite(const Tensor& tensor) {
  const T* const values = tensor.data<T>();
  return std::all_of(values, values + tensor.numel(), [](T value) { return std::isfinite(value); });
}

/// A state with non-finite parameters is useless and would replace a usable one.
void expect_finite(const TensorMap& parameters, const std::string& path) {
  for (const auto& [name, tensor] : parameters) {
    const Tensor here = tensor.to(Device::cpu);
    if (here.dtype() == DType::f64 ? all_finite<double>(here)
                                   : here.dtype() != DType::f32 || all_finite<float>(here))
      continue;
    throw Error(
        detail::concat("training: ", name, " is no longer finite; ", path, " is not written"));
  }
}

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

/// Counts the step and starts the copy of its loss and norm to the host.
void Trainer::queue_report(const Tensor& loss, const Tensor& norm) {
  pending_.push({.epoch = position_.epoch, .step = position_.step}, loss, norm);
  advance();
  if (options_.checkpoint_seconds > 0 && now_seconds() - saved_at_ >= options_.checkpoint_seconds) {
    settle(0);
    save_if_asked();
  }
}

/// Reads the losses that have arrived, and waits for the oldest until at most `allowed` are
/// pending.
void Trainer::settle(std::int64_t allowed) {
  while (const std::optional<StepReport> known = pending_.pop(allowed)) {
    expect_finite(*known);
    report(*known);
  }
}

bool Trainer::is_better(double metric) const noexcept {
  if (std::isnan(metric)) return false;
  if (position_.best_epoch < 0) return true;
  return options_.larger_is_better ? metric > position_.best_metric
                                   : metric < position_.best_metric;
}

/// The best metric is compared, so a run that has left the plateau does not return to it.
bool Trainer::is_on_plateau() const noexcept {
  if (options_.plateau_margin == 0) return false;
  if (position_.best_epoch < 0) return true;
  const double gain = options_.larger_is_better ? position_.best_metric - position_.first_metric
                                                : position_.first_metric - position_.best_metric;
  return gain <= 0 || gain < options_.plateau_margin * std::abs(position_.first_metric);
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

/// Walks over the members once; a lookup by name would walk once for each parameter.
void Trainer::restore_best() {
  for (const NamedParameter& named : model_.parameters()) {
    const auto found = best_.find(named.name);
    if (found != best_.end()) named.parameter->value().copy_from(found->second);
  }
}

void Trainer::end_epoch(double metric, double evaluation_seconds) {
  const bool best = is_better(metric);
  if (best) {
    if (position_.best_epoch < 0) position_.first_metric = metric;
    position_.best_metric = metric;
    position_.best_epoch = position_.epoch;
    position_.worse_evaluations = 0;
    if (options_.restore_best) remember_best();
  } else if (!is_on_plateau()) {
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
  epochs_.push_back(report);
  save_if_asked();
  if (on_epoch_) on_epoch_(report);
}

void Trainer::start() {
  expect_same_ranks();
  saved_at_ = now_seconds();
  pending_.clear();
  epochs_.clear();
  if (!is_done()) begin_epoch();
}

void Trainer::begin_epoch() {
  model_.train();
  epoch_began_ = now_seconds();
}

TrainingResult Trainer::finish() {
  return end_run(stopped_early() ? TrainingEnd::stopped_early : TrainingEnd::finished);
}

TrainingResult Trainer::interrupt() { return end_run(TrainingEnd::interrupted); }

TrainingResult Trainer::end_run(TrainingEnd end) {
  settle(0);
  optimizer_.zero_grad();
  model_.eval();
  if (end == TrainingEnd::interrupted) {
    save_if_asked();
  } else {
    restore_best();
  }
  return {.end = end, .position = position_, .epochs = std::move(epochs_)};
}

void Trainer::save_if_asked() {
  const bool is_writer = options_.communicator == nullptr || options_.communicator->rank() == 0;
  if (options_.checkpoint.empty() || !is_writer) return;
  save(options_.checkpoint);
  saved_at_ = now_seconds();
}

void Trainer::save(const std::string& path) const {
  TrainingState state;
  state.model = tensors_of(model_);
  expect_finite(state.model, path);
  state.optimizer = optimizer_.state();
  state.best = best_;
  for (const NamedRandom& each : randoms()) state.randoms[each.name] = each.random->state();
  state.counters = {{"epoch", position_.epoch},
                    {"step", position_.step},
                    {"total_steps", position_.total_steps},
                    {"steps_per_epoch", options_.steps_per_epoch},
                    {"best_epoch", position_.best_epoch},
                    {"worse_evaluations", position_.worse_evaluations}};
  if (options_.slices > 1) state.counters["slices"] = options_.slices;
  state.figures = {{"loss_sum", position_.loss_sum}, {"best_metric", position_.best_metric}};
  if (options_.plateau_margin > 0) state.figures["first_metric"] = position_.first_metric;
  state.metadata = options_.metadata;
  add_setting(state.metadata, options_.setting);
  save_training(path, state);
}

namespace {

/// The states of the streams in visiting order. Files of version 0.1 number the streams of dropout
/// layers in the order of declaration: dropout.0, dropout.1, ...
std::vector<RandomState> stream_states(const std::string& path, const TrainingState& state,
                                       const std::vector<NamedRandom>& streams) {
  if (state.randoms.size() != streams.size()) {
    throw DataError(path, 0,
                    detail::concat("holds ", state.randoms.size(), " random streams, expected ",
                                   streams.size()));
  }
  const bool is_numbered = state.randoms.find("dropout.0") != state.randoms.end();
  std::vector<RandomState> states;
  for (const NamedRandom& stream : streams) {
    auto found = state.randoms.find(stream.name);
    if (found == state.randoms.end() && is_numbered)
      found = state.randoms.find(detail::concat("dropout.", states.size()));
    if (found == state.randoms.end())
      throw DataError(path, 0, detail::concat("has no random stream '", stream.name, "'"));
    states.push_back(found->second);
  }
  return states;
}

}  // namespace

bool Trainer::resume() {
  if (options_.checkpoint.empty() || !std::filesystem::exists(options_.checkpoint)) return false;
  resume(options_.checkpoint);
  return true;
}

void Trainer::resume(const std::string& path) {
  TrainingState state = load_training(path);
  if (!options_.setting.empty()) expect_same_setting(path, options_.setting, state.metadata);
  const auto counter = [&](const char* name) {
    const auto found = state.counters.find(name);
    if (found == state.counters.end())
      throw DataError(path, 0, detail::concat("has no counter '", name, "'"));
    return found->second;
  };
  const auto figure = [&](const char* name) {
    const auto found = state.figures.find(name);
    if (found == state.figures.end())
      throw DataError(path, 0, detail::concat("has no value '", name, "'"));
    return found->second;
  };
  // A run without a plateau saves no first metric; its best one then bounds the plateau.
  const bool has_first = state.figures.find("first_metric") != state.figures.end();
  const double first_metric = figure(has_first ? "first_metric" : "best_metric");
  const TrainingPosition position{.epoch = counter("epoch"),
                                  .step = counter("step"),
                                  .total_steps = counter("total_steps"),
                                  .loss_sum = figure("loss_sum"),
                                  .best_metric = figure("best_metric"),
                                  .best_epoch = counter("best_epoch"),
                                  .worse_evaluations = counter("worse_evaluations"),
                                  .first_metric = first_metric};
  if (counter("steps_per_epoch") != options_.steps_per_epoch) {
    throw DataError(path, 0,
                    detail::concat("was saved by a run of ", counter("steps_per_epoch"),
                                   " steps per epoch, expected ", options_.steps_per_epoch));
  }
  const bool has_slices = state.counters.find("slices") != state.counters.end();
  const std::int64_t slices = has_slices ? counter("slices") : 1;
  if (slices != options_.slices) {
    throw DataError(
        path, 0,
        detail::concat("was saved by a run with ", slices, slices == 1 ? " slice" : " slices",
                       " per batch, expected ", options_.slices,
                       "; give the same number of slices, or another file"));
  }
  const std::vector<NamedRandom> streams = randoms();
  const std::vector<RandomState> places = stream_states(path, state, streams);
  TensorMap trainable;
  for (const ConstNamedParameter& named : std::as_const(model_).parameters()) {
    if (!named.parameter->is_frozen()) trainable[named.name] = named.parameter->value().clone();
  }
  if (!state.best.empty()) assign_tensors(trainable, state.best, path);
  try {
    optimizer_.load_state(state.optimizer);
  } catch (const Error& error) {
    throw DataError(path, 0, detail::concat("does not fit the optimizer: ", error.what()));
  }
  assign_tensors(tensors_of(model_), state.model, path);
  for (std::size_t i = 0; i < streams.size(); ++i) *streams[i].random = Random(places[i]);
  best_ = std::move(state.best);
  position_ = position;
}

}  // namespace refrain
