#include "peterrec/training.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <numeric>

#include "refrain/data/samplers.hpp"
#include "refrain/train/progress.hpp"
#include "refrain/train/trainer.hpp"

namespace refrain::peterrec {
namespace {

/// The source loss of one batch: next item or masked item, full or sampled softmax.
class SourceLoss {
 public:
  SourceLoss(const PretrainData& data, const Vocabulary& vocabulary, const BaseOptions& options, std::int64_t length)
      : data_(data),
        options_(options),
        piece_(piece_length(length, options.causal)),
        sampler_({.first = vocabulary.first_item(), .range = vocabulary.items()}),
        samples_(std::clamp<std::int64_t>(std::llround(options.sampled_share * vocabulary.items()), 1, vocabulary.items())) {}

  Variable training(const NextItNet& network, std::span<const std::int64_t> rows, Random random) {
    const SequenceBatch made = batch(rows, random);
    if (options_.loss != "sampled") return network.loss(made.ids, made.targets, padding_id);
    const CandidateSample sample = sampler_.draw(samples_, random);
    return network.sampled_loss(
        made.ids, made.targets,
        {.ids = sample.ids,
         .log_q_true = sampler_.log_expected_count(made.targets.reshape({made.targets.numel()}), sample),
         .log_q_negative = sampler_.log_expected_count(sample.ids, sample)},
        padding_id);
  }

  /// Mean full softmax loss over the held-out rows.
  double validation(const NextItNet& network) {
    const std::vector<std::int64_t>& rows = data_.split.valid.empty() ? data_.split.train : data_.split.valid;
    Random random(0x76616C6964);
    double sum = 0;
    std::int64_t counted = 0;
    for (std::size_t begin = 0; begin < rows.size(); begin += batch_rows) {
      const SequenceBatch made = batch(std::span(rows).subspan(begin, std::min(batch_rows, rows.size() - begin)), random);
      const std::span<const std::int32_t> targets = std::as_const(made.targets).span<std::int32_t>();
      const std::int64_t real =
          std::count_if(targets.begin(), targets.end(), [](std::int32_t target) { return target != padding_id; });
      sum += network.loss(made.ids, made.targets, padding_id).item() * static_cast<double>(real);
      counted += real;
    }
    return counted == 0 ? 0 : sum / static_cast<double>(counted);
  }

 private:
  static constexpr std::size_t batch_rows = 128;

  SequenceBatch batch(std::span<const std::int64_t> rows, Random& random) const {
    return options_.causal ? next_item_batch(data_.rows, rows, piece_)
                           : masked_batch(data_.rows, rows, piece_, options_.mask_share, random);
  }

  const PretrainData& data_;
  const BaseOptions& options_;
  std::int64_t piece_;
  CandidateSampler sampler_;
  std::int64_t samples_;
};

std::int32_t size32(std::int64_t size) { return static_cast<std::int32_t>(size); }

/// Refuses the state of a run on other data: what was held out of that one may be in this one.
void expect_same_setting(const TrainPlace& place) {
  const CheckpointInfo info = checkpoint_info(place.state_file);
  const auto found = info.metadata.find("setting");
  const std::string before = found == info.metadata.end() ? "nothing known" : found->second;
  if (before == place.setting) return;
  throw DataError(place.state_file, 0,
                  concat("keeps the state of another run: expected ", place.setting, ", got ", before,
                         "; give the same options as then, or another --resume file"));
}

/// Runs the trainer with a progress line an epoch, figures in the log, and Ctrl-C in order.
TrainReport run(Module& module, Optimizer& optimizer, const TrainOptions& options, const TrainPlace& place, std::int64_t steps,
                const std::string& metric, double sign, const std::function<Variable(std::int64_t, std::int64_t)>& loss,
                const std::function<double()>& evaluate) {
  const InterruptGuard guard;
  Trainer trainer(module, optimizer,
                  {.epochs = options.epochs,
                   .steps_per_epoch = steps,
                   .max_norm = options.clip,
                   .patience = options.patience,
                   .checkpoint = place.state_file,
                   .metadata = {{"run", place.label}, {"setting", place.setting}}});
  if (!place.state_file.empty() && std::filesystem::exists(place.state_file)) {
    expect_same_setting(place);
    trainer.resume(place.state_file);
  }
  TrainReport report;
  double seconds = 0;
  std::int64_t epochs = 0;
  std::optional<Progress> progress;
  trainer.on_step([&](const StepReport& step) {
    if (!progress)
      progress.emplace(Progress::Options{.label = fmt::format("{}, epoch {}", place.label, step.epoch + 1), .total = steps});
    progress->set_note(fmt::format("loss {:.4f}", step.loss));
    progress->advance();
  });
  trainer.on_epoch([&](const EpochReport& epoch) {
    if (progress) {
      progress->set_note(
          fmt::format("loss {:.4f}, {} {:.4f}{}", epoch.loss, metric, sign * epoch.metric, epoch.is_best ? " *" : ""));
      progress->finish();
    }
    progress.reset();
    seconds += epoch.training_seconds;
    ++epochs;
    if (place.log != nullptr) {
      place.log->write({{"epoch", static_cast<double>(epoch.epoch + 1)},
                        {"loss", epoch.loss},
                        {"validation", sign * epoch.metric},
                        {"seconds", epoch.training_seconds},
                        {"seed", static_cast<double>(place.seed)}},
                       {{"run", place.label}, {"metric", metric}});
    }
  });
  const TrainingResult result = trainer.run(loss, [&](std::int64_t) { return sign * evaluate(); });
  report.epochs = result.position.epoch;
  report.seconds_per_epoch = epochs == 0 ? 0 : seconds / static_cast<double>(epochs);
  report.best = sign * result.position.best_metric;
  report.interrupted = result.end == TrainingEnd::interrupted;
  return report;
}

}  // namespace

Leavings leavings(const std::string& out, const std::string& state_file) {
  if (!state_file.empty()) {
    return {false, fmt::format("the state of training is in {}: the same command goes on from it; {} was not written",
                               state_file, out)};
  }
  if (std::filesystem::exists(out)) {
    return {false,
            fmt::format("{} was there already and is unchanged, and what this run learned is gone: with --resume FILE a run "
                        "keeps its state and can go on",
                        out)};
  }
  return {true,
          fmt::format("what was learned so far is in {}; training starts anew next time: with --resume FILE a run keeps its "
                      "state and can go on",
                      out)};
}

TrainReport train_base(NextItNet& network, const PretrainData& data, const Vocabulary& vocabulary, const BaseOptions& base,
                       const TrainOptions& options, std::int64_t length, const TrainPlace& place) {
  SourceLoss source(data, vocabulary, base, length);
  BatchSampler batches(data.split.train, {.batch_size = options.batch, .seed = place.seed});
  Adam adam(network, {.learning_rate = options.learning_rate});
  if (options.l2 > 0) adam.set_l2("head.weight", options.l2);
  return run(
      network, adam, options, place, batches.steps_per_epoch(), "held-out loss", -1,
      [&](std::int64_t epoch, std::int64_t step) {
        return source.training(network, batches.rows(epoch, step), batches.random(epoch, step));
      },
      [&] { return source.validation(network); });
}

TrainReport train_task(TaskNetwork& network, const TaskData& task, const TransferExamples& examples,
                       const TaskOptions& task_options, const TrainOptions& options, std::int64_t length,
                       const Protocols& protocols, const TrainPlace& place, const SourceTask& joint) {
  const SequenceForm form{.length = length, .placement = placement_of(network.base())};
  const bool pairs = network.task().options().head.loss != models::HeadLoss::softmax;
  std::optional<NegativeSampler> negatives;
  if (pairs) {
    negatives.emplace(NegativeSampler::Options{
        .kind = task_options.negatives == "rank" ? NegativeSampler::Kind::rank : NegativeSampler::Kind::uniform,
        .items = size32(task.targets.size()),
        .rho = task_options.rho});
  }
  std::optional<SourceLoss> source;
  std::optional<BatchSampler> source_batches;
  if (joint.data != nullptr) {
    source.emplace(*joint.data, *joint.vocabulary, *joint.options, length);
    source_batches.emplace(joint.data->split.train, BatchSampler::Options{.batch_size = options.batch, .seed = place.seed + 1});
  }
  BatchSampler batches(examples.size(), {.batch_size = options.batch, .seed = place.seed});
  Adam adam(network, {.learning_rate = options.learning_rate});
  if (options.l2 > 0) adam.set_l2("task.head.weight", options.l2);
  const Scorer scorer = scorer_of(network);
  const bool is_profile = task.kind == TaskKind::profile;
  return run(
      network, adam, options, place, batches.steps_per_epoch(), is_profile ? "cross-entropy" : "MRR@5 (sampled)",
      is_profile ? -1 : 1,
      [&](std::int64_t epoch, std::int64_t step) {
        const TransferBatch batch =
            transfer_batch(task.sources, examples, batches.rows(epoch, step), form.length, form.placement);
        Random random = batches.random(epoch, step);
        Variable loss = network.task().loss(network.user(batch.ids), batch.targets,
                                            pairs ? negatives->draw(batch.targets, random) : Tensor());
        if (source) {
          const std::int64_t total = epoch * batches.steps_per_epoch() + step;
          const std::int64_t source_epoch = total / source_batches->steps_per_epoch();
          const std::int64_t source_step = total % source_batches->steps_per_epoch();
          loss = loss + source->training(network.base(), source_batches->rows(source_epoch, source_step),
                                         source_batches->random(source_epoch, source_step));
        }
        return loss;
      },
      [&] {
        const Figures figures = measure(task, task.valid, form, protocols, scorer);
        return is_profile ? figures.cross_entropy : figures.validation();
      });
}

}  // namespace refrain::peterrec
