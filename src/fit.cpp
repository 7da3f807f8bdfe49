#include "refrain/train/fit.hpp"

#include <utility>

#include "refrain/data/data_hash.hpp"

namespace refrain {
namespace detail {
namespace {

constexpr const char* stop_names[] = {"NDCG", "HR", "MRR", "AUC", "held-out loss"};

std::string metric_name(const FitOptions& options) {
  const std::string name = stop_names[static_cast<std::size_t>(options.stop_on)];
  const bool has_cutoff = options.stop_on != StopOn::loss && options.stop_on != StopOn::auc;
  return has_cutoff ? detail::concat(name, "@", options.validation.cutoffs.front()) : name;
}

void check(const Dataset& data, const FitOptions& options) {
  if (options.epochs < 1)
    throw OptionError(detail::concat("fit: expected epochs of at least 1, got ", options.epochs));
  if (options.validation.cutoffs.empty())
    throw OptionError("fit: expected validation.cutoffs of at least one k, got none");
  for (const std::int64_t k : options.validation.cutoffs) {
    if (k < 1)
      throw OptionError(detail::concat("fit: expected validation.cutoffs of at least 1, got ", k));
  }
  if (data.validation.rows.empty() && options.patience > 0) {
    throw OptionError(
        "fit: expected a data set with a validation part for early stopping; with patience = 0 "
        "all epochs are trained");
  }
}

NextItemBatches batches_of(std::int64_t length, const Dataset& data, const FitOptions& options) {
  check(data, options);
  return NextItemBatches(data.training, {.length = length,
                                         .batch_size = options.batch,
                                         .seed = options.seed,
                                         .positions = options.positions,
                                         .min_length = options.min_length,
                                         .shuffle = options.shuffle});
}

bool has_several_ranks(const FitOptions& options) {
  return options.communicator != nullptr && options.communicator->size() > 1;
}

bool is_shown(const FitOptions& options) {
  return options.communicator == nullptr || options.communicator->rank() == 0;
}

/// The setting that a resumed run must share with the run that wrote the checkpoint. Epochs,
/// patience, learning rate and clipping may differ.
RunSetting setting_of(std::int64_t length, const Dataset& data, const FitOptions& options) {
  RunSetting setting{{"length", detail::concat(length)},
                     {"batch", detail::concat(options.batch)},
                     {"seed", detail::concat(options.seed)},
                     {"positions", options.positions == LossPositions::last ? "last" : "all"},
                     {"min_length", detail::concat(options.min_length)},
                     {"stop_on", metric_name(options)},
                     {"data", data.fingerprint()}};
  if (options.shuffle != Shuffle::full)
    setting["shuffle"] = options.shuffle == Shuffle::blocks ? "blocks" : "none";
  return setting;
}

}  // namespace

Fitting::Fitting(Module& model, Optimizer& optimizer, std::int64_t length, const Dataset& data,
                 const FitOptions& options)
    : batches_(batches_of(length, data, options)),
      progress_({.label = options.label,
                 .steps_per_epoch = batches_.steps_per_epoch(),
                 .metric = metric_name(options),
                 .style = is_shown(options) ? options.progress : Progress::Style::quiet}),
      trainer_(
          model, optimizer,
          {.epochs = options.epochs,
           .steps_per_epoch = batches_.steps_per_epoch(),
           .max_norm = options.max_norm,
           .slices = options.slices,
           .communicator = options.communicator,
           .patience = options.patience,
           .plateau_margin = options.plateau_margin,
           .larger_is_better = options.stop_on != StopOn::loss,
           .schedule = options.schedule,
           .checkpoint = options.checkpoint,
           .checkpoint_seconds = options.checkpoint_seconds,
           .setting = setting_of(length, data, options),
           .pending_losses = model.device() == Device::cpu || has_several_ranks(options) ? 0 : 4,
           .capture_after = 3}) {
  trainer_.on_step([this, user = options.on_step](const StepReport& step) {
    progress_.show(step);
    if (user) user(step);
  });
  trainer_.on_epoch([this, user = options.on_epoch](const EpochReport& epoch) {
    progress_.show(epoch);
    if (user) user(epoch);
  });
  trainer_.resume();
}

TrainingResult Fitting::finish(TrainingResult result) {
  progress_.finish();
  return result;
}

double figure_of(const RankingMetrics& metrics, const FitOptions& options) {
  const std::int64_t k = options.validation.cutoffs.front();
  switch (options.stop_on) {
    case StopOn::hr:
      return metrics.hr(k);
    case StopOn::mrr:
      return metrics.mrr(k);
    case StopOn::auc:
      return metrics.auc();
    case StopOn::ndcg:
    case StopOn::loss:
      break;
  }
  return metrics.ndcg(k);
}

}  // namespace detail

std::int64_t training_steps(std::int64_t length, const Dataset& data, const FitOptions& options) {
  return options.epochs * detail::batches_of(length, data, options).steps_per_epoch();
}

}  // namespace refrain
