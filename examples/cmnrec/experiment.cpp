#include "cmnrec/experiment.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "common/concat.hpp"
#include "common/standard_streams.hpp"
#include "refrain/core/stream.hpp"

namespace refrain::cmnrec {
namespace {

constexpr std::size_t measured_rows = 256;

/// Calls function(rows) for consecutive parts of the rows.
template <class Function>
void for_batches(std::span<const std::int64_t> rows, Function&& function) {
  for (std::size_t begin = 0; begin < rows.size(); begin += measured_rows) {
    function(rows.subspan(begin, std::min(measured_rows, rows.size() - begin)));
  }
}

/// The loss of a training step as the options want it, and of the validation part: that over all
/// items, at the same steps.
class Objective {
 public:
  Objective(Recommender& recommender, const PreparedData& data, const Vocabulary& vocabulary,
            const Options& options)
      : recommender_(recommender),
        data_(data),
        length_(options.data.length),
        shift_(options.loss.shift),
        is_sampled_(options.loss.kind == "sampled"),
        at_(options.loss.at == "last" ? LossAt::last : LossAt::all),
        held_out_at_(options.data.leave_last_out ? LossAt::last : at_),
        sampler_({.first = vocabulary.first_item(), .range = vocabulary.items()}),
        negatives_(options.loss.negatives > 0
                       ? options.loss.negatives
                       : std::max<std::int64_t>(1, std::int64_t{vocabulary.items()} / 10)) {
    if (shift_ >= length_)
      throw OptionError(
          examples::concat("--shift: expected less than --length ", length_, ", got ", shift_));
    if (is_sampled_ && negatives_ > vocabulary.items()) {
      throw OptionError(examples::concat("--negatives: expected 1 to ", vocabulary.items(),
                                         " (the items), got ", negatives_));
    }
  }

  /// A training step's batch, on the host.
  LossBatch batch(std::span<const std::int64_t> rows, Random random) {
    SequenceBatch batch = batch_of(data_, rows, length_);
    if (shift_ > 0) batch = shifted(batch, random.below(shift_ + 1));
    LossBatch made = batch_for(batch, at_, is_sampled_);
    if (!is_sampled_) return made;
    const CandidateSample sample = sampler_.draw(negatives_, random);
    made.candidates = {.ids = sample.ids,
                       .log_q_true = sampler_.log_expected_count(
                           made.targets.reshape({made.targets.numel()}), sample),
                       .log_q_negative = sampler_.log_expected_count(sample.ids, sample)};
    return made;
  }

  Variable loss(const LossBatch& batch) {
    return is_sampled_ ? recommender_.sampled_loss(batch, at_) : recommender_.loss(batch, at_);
  }

  double validation() {
    const Device device = recommender_.device();
    double sum = 0;
    std::int64_t counted = 0;
    for_batches(data_.split.valid, [&](std::span<const std::int64_t> rows) {
      const SequenceBatch batch = batch_of(data_, rows, length_);
      const std::int64_t real =
          held_out_at_ == LossAt::last ? batch.targets.size(0) : real_targets(batch.targets);
      const LossBatch held_out = batch_for(batch, held_out_at_, false).to(device);
      sum += recommender_.loss(held_out, held_out_at_).item() * static_cast<double>(real);
      counted += real;
    });
    return counted == 0 ? 0 : sum / static_cast<double>(counted);
  }

 private:
  LossBatch batch_for(const SequenceBatch& batch, LossAt at, bool is_sampled) const {
    return {.ids = batch.ids, .targets = recommender_.targets_for(batch.targets, at, is_sampled)};
  }

  static std::int64_t real_targets(const Tensor& targets) {
    const std::span<const std::int32_t> ids = targets.span<std::int32_t>();
    return std::count_if(ids.begin(), ids.end(), [](std::int32_t id) { return id != padding_id; });
  }

  Recommender& recommender_;
  const PreparedData& data_;
  std::int64_t length_;
  std::int64_t shift_;
  bool is_sampled_;
  LossAt at_;
  /// leave-last-out holds back the last item of a history alone: the others are trained on
  LossAt held_out_at_;
  CandidateSampler sampler_;
  std::int64_t negatives_;
};

}  // namespace

Figures measure(Recommender& recommender, const PreparedData& data,
                std::span<const std::int64_t> rows, const Vocabulary& vocabulary,
                std::int64_t length) {
  RankingProtocol protocol{.kind = RankingProtocol::Kind::full,
                           .first = vocabulary.first_item(),
                           .items = vocabulary.items()};
  const std::vector<std::int64_t> at(std::begin(cutoffs), std::end(cutoffs));
  RankingMetrics all(protocol, at);
  protocol.without_seen = true;
  RankingMetrics without_seen(protocol, at);
  const NoGrad off;
  const Device device = recommender.device();
  for_batches(rows, [&](std::span<const std::int64_t> part) {
    const SequenceBatch batch = batch_of(data, part, length);
    const Tensor positives = last_column(batch.targets);
    std::vector<std::span<const std::int32_t>> seen;
    for (const std::int64_t row : part)
      seen.push_back(data.rows[row].first(data.rows[row].size() - 1));
    const Tensor scores = recommender.scores(batch.ids.to(device)).to(Device::cpu);
    all.add(rank_rows(scores, positives, all.protocol()));
    without_seen.add(rank_rows(scores, positives, without_seen.protocol(), 0, seen));
  });
  return {std::move(all), std::move(without_seen)};
}

TrainReport train_model(Recommender& recommender, const PreparedData& data,
                        const Vocabulary& vocabulary, const Options& options,
                        const TrainPlace& place) {
  Objective objective(recommender, data, vocabulary, options);
  BatchSampler batches(data.split.train, {.batch_size = options.train.batch, .seed = place.seed});
  Adam adam(recommender, {.learning_rate = options.train.learning_rate});
  if (options.train.l2 > 0) adam.set_l2("*head.weight", options.train.l2);
  const double chance = std::log(static_cast<double>(vocabulary.size()));
  examples::Validation validation{.name = "held-out loss",
                                  .larger_is_better = false,
                                  .measure = [&] { return objective.validation(); },
                                  .chance = chance};
  if (options.loss.stop_on == "ndcg") {
    validation = {.name = "NDCG@10",
                  .larger_is_better = true,
                  .measure =
                      [&] {
                        return measure(recommender, data, data.split.valid, vocabulary,
                                       options.data.length)
                            .of(options.without_seen)
                            .ndcg(10);
                      },
                  .chance = chance};
  }
  return examples::train(
      recommender, adam, options.train, place, batches.steps_per_epoch(),
      [&](std::int64_t epoch, std::int64_t step) {
        return objective.batch(batches.rows(epoch, step), batches.random(epoch, step));
      },
      [&](const LossBatch& batch) { return objective.loss(batch); }, validation);
}

double prediction_ms(Recommender& recommender, const PreparedData& data, const Options& options) {
  std::vector<std::int64_t> rows;
  for (std::int64_t i = 0; i < options.prediction_batch; ++i) {
    rows.push_back(data.split.test[static_cast<std::size_t>(i) % data.split.test.size()]);
  }
  const Tensor ids = batch_of(data, rows, options.data.length).ids.to(recommender.device());
  recommender.eval();
  const auto seconds = [&] {
    const auto begin = std::chrono::steady_clock::now();
    recommender.scores(ids);
    synchronize(ids.device());
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  seconds();
  constexpr std::size_t runs = 7;
  std::vector<double> times;
  while (times.size() < runs) times.push_back(seconds());
  std::nth_element(times.begin(), times.begin() + runs / 2, times.end());
  return 1000 * times[runs / 2];
}

std::string text(const RankingMetrics& metrics) {
  std::string lines =
      metrics.protocol().text() + fmt::format("; {} sequences", with_commas(metrics.count()));
  for (const std::int64_t k : cutoffs) {
    lines += fmt::format("\n  MRR@{0:<2} {1:.4f}  HR@{0:<2} {2:.4f}  NDCG@{0:<2} {3:.4f}", k,
                         metrics.mrr(k), metrics.hr(k), metrics.ndcg(k));
  }
  return lines;
}

void print_data(const PreparedData& data, const Vocabulary& vocabulary,
                const DataOptions& options) {
  const auto size = [](const std::vector<std::int64_t>& part) {
    return with_commas(static_cast<std::int64_t>(part.size()));
  };
  std::int64_t items = 0;
  for (const std::int64_t row : data.split.train)
    items += static_cast<std::int64_t>(data.rows[row].size());
  fmt::print(
      "{} items; {} sequences to train on ({:.1f} items each, T = {}), {} to validate, {} to test, "
      "split {}\n",
      with_commas(vocabulary.items()), size(data.split.train),
      static_cast<double>(items) / static_cast<double>(data.split.train.size()), options.length,
      size(data.split.valid), size(data.split.test),
      options.leave_last_out ? "in time (last items of each user)" : "at random");
  examples::flush_output();
}

}  // namespace refrain::cmnrec
