/// Full and sampled softmax cross-entropy on the CPU, with their gradients, by score_blocks.hpp.
///
/// Only the counted rows are computed; they are gathered first. 6 P V C FLOPs with gradients, 2 P V
/// C without.

#include "kernels/kernel.hpp"
#include "kernels/loss/score_blocks.hpp"
#include "refrain/kernels/loss.hpp"

namespace refrain::kernels::cpu {
namespace {

/// The counted rows, gathered.
template <class T>
struct CountedRows {
  std::int64_t rows, channels;
  std::int32_t* index;    ///< [count] the indices of the rows
  std::int32_t* targets;  ///< [count]
  T* hidden;              ///< [count, C]
  T* dhidden = nullptr;   ///< [count, C]
  std::int64_t count = 0;

  CountedRows(const Shape& hidden_shape, bool gradient, Scratch& scratch)
      : rows(hidden_shape[0]),
        channels(hidden_shape[1]),
        index(scratch.take<std::int32_t>(rows)),
        targets(scratch.take<std::int32_t>(rows)),
        hidden(scratch.take<T>(rows * channels)) {
    if (gradient) dhidden = scratch.take<T>(rows * channels);
  }

  void gather(const View& from, const View& all_targets, std::int64_t ignored, bool relu) {
    const std::int32_t* const target = all_targets.as<std::int32_t>();
    for (std::int64_t row = 0; row < rows; ++row) {
      if (target[row] == ignored) continue;
      index[count] = static_cast<std::int32_t>(row);
      targets[count++] = target[row];
    }
    parallel_for(count, 512, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const T* const source = from.as<T>() + index[i] * channels;
        T* const to = hidden + i * channels;
        for (std::int64_t c = 0; c < channels; ++c)
          to[c] = relu && source[c] < 0 ? T(0) : source[c];
      }
    });
  }

  /// Writes the gradient of every row; with `relu` it is zero where the gathered value is 0.
  void scatter(const MutableView& to, bool relu) const {
    T* const out = to.as<T>();
    std::fill_n(out, rows * channels, T(0));
    parallel_for(count, 512, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        T* const row = out + index[i] * channels;
        const T* const h = hidden + i * channels;
        const T* const d = dhidden + i * channels;
        for (std::int64_t c = 0; c < channels; ++c) row[c] = relu && h[c] == 0 ? T(0) : d[c];
      }
    });
  }
};

template <class T>
struct SoftmaxPlan {
  CountedRows<T> counted;
  ScoreBlocks<T> blocks;

  SoftmaxPlan(const SoftmaxLoss& args, Scratch& scratch)
      : counted(args.hidden.shape, static_cast<bool>(args.dhidden), scratch),
        blocks(args.hidden.shape[0], args.weight.shape[0], args.hidden.shape[1],
               args.dhidden || args.dweight || args.dbias, args.smoothing > 0, scratch) {}
};

template <class T>
struct SampledPlan {
  CountedRows<T> counted;
  T* weight;     ///< [S,C] the rows of the negatives
  T* offset;     ///< [S] bias - log Q
  T* positive;   ///< [count]
  T* dpositive;  ///< [count]
  ScoreBlocks<T> blocks;

  SampledPlan(const SampledSoftmaxLoss& args, Scratch& scratch)
      : counted(args.hidden.shape, static_cast<bool>(args.dhidden), scratch),
        weight(scratch.take<T>(args.negatives.shape.numel() * args.hidden.shape[1])),
        offset(scratch.take<T>(args.negatives.shape.numel())),
        positive(scratch.take<T>(args.hidden.shape[0])),
        dpositive(scratch.take<T>(args.hidden.shape[0])),
        blocks(args.hidden.shape[0], args.negatives.shape.numel(), args.hidden.shape[1],
               args.dhidden || args.dweight_rows || args.dbias_rows, false, scratch) {}
};

template <class T>
void softmax(const SoftmaxLoss& args, Scratch& scratch) {
  SoftmaxPlan<T> plan(args, scratch);
  if (scratch.is_counting()) return;
  CountedRows<T>& counted = plan.counted;
  counted.gather(args.hidden, args.targets, args.ignored, args.relu);
  ScoreArgs<T> score;
  score.rows = counted.count;
  score.channels = counted.channels;
  score.items = args.weight.shape[0];
  score.hidden = counted.hidden;
  score.weight = args.weight.as<T>();
  score.offset = args.bias.as<T>();
  score.targets = counted.targets;
  score.smoothing = args.smoothing;
  score.dhidden = counted.dhidden;
  score.dweight = args.dweight.as<T>();
  score.doffset = args.dbias.as<T>();
  *args.loss.as<T>() = static_cast<T>(plan.blocks.run(score));
  if (args.dhidden) counted.scatter(args.dhidden, args.relu);
}

template <class T>
void sampled_softmax(const SampledSoftmaxLoss& args, Scratch& scratch) {
  SampledPlan<T> plan(args, scratch);
  if (scratch.is_counting()) return;
  CountedRows<T>& counted = plan.counted;
  counted.gather(args.hidden, args.targets, args.ignored, false);
  const std::int64_t channels = counted.channels;
  const std::int64_t samples = args.negatives.shape.numel();
  const T* const weight = args.weight.as<T>();
  const T* const bias = args.bias.as<T>();
  const T* const log_q_true = args.log_q_true.as<T>();
  const T* const log_q_negative = args.log_q_negative.as<T>();
  const std::int32_t* const negatives = args.negatives.as<std::int32_t>();
  parallel_for(samples, 256, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t j = begin; j < end; ++j) {
      std::copy_n(weight + negatives[j] * channels, channels, plan.weight + j * channels);
      plan.offset[j] = (bias == nullptr ? T(0) : bias[negatives[j]]) -
                       (log_q_negative == nullptr ? T(0) : log_q_negative[j]);
    }
  });
  parallel_for(counted.count, 256, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t target = counted.targets[i];
      const T* const h = counted.hidden + i * channels;
      const T* const w = weight + target * channels;
      const T product = sum_lanes<T>(
          channels, [&]<class L>(L, std::int64_t c) { return L::load(h + c) * L::load(w + c); });
      plan.positive[i] = product + (bias == nullptr ? T(0) : bias[target]) -
                         (log_q_true == nullptr ? T(0) : log_q_true[counted.index[i]]);
    }
  });
  ScoreArgs<T> score;
  score.rows = counted.count;
  score.channels = channels;
  score.items = samples;
  score.hidden = counted.hidden;
  score.weight = plan.weight;
  score.offset = plan.offset;
  score.targets = counted.targets;
  score.positive = plan.positive;
  score.ids = args.remove_hits ? negatives : nullptr;
  score.dhidden = counted.dhidden;
  score.dweight = args.dweight_rows.as<T>();
  score.doffset = args.dbias_rows.as<T>();
  score.dpositive = plan.dpositive;
  *args.loss.as<T>() = static_cast<T>(plan.blocks.run(score));

  if (args.dbias_rows) {
    T* const of_targets = args.dbias_rows.as<T>() + samples;
    std::fill_n(of_targets, counted.rows, T(0));
    for (std::int64_t i = 0; i < counted.count; ++i)
      of_targets[counted.index[i]] = plan.dpositive[i];
  }
  if (args.dweight_rows) {
    T* const of_targets = args.dweight_rows.as<T>() + samples * channels;
    std::fill_n(of_targets, counted.rows * channels, T(0));
    parallel_for(counted.count, 256, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const T* const h = counted.hidden + i * channels;
        T* const to = of_targets + counted.index[i] * channels;
        const T d = plan.dpositive[i];
        for_lanes<T>(channels,
                     [&]<class L>(L, std::int64_t c) { L::store(to + c, L::load(h + c) * d); });
      }
    });
  }
  if (args.dhidden) {
    parallel_for(counted.count, 256, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const T* const w = weight + counted.targets[i] * channels;
        T* const to = counted.dhidden + i * channels;
        const T d = plan.dpositive[i];
        for_lanes<T>(channels, [&]<class L>(L, std::int64_t c) {
          L::store(to + c, L::load(to + c) + L::load(w + c) * d);
        });
      }
    });
    counted.scatter(args.dhidden, false);
  }
}

}  // namespace

template <>
void kernel(const SoftmaxLoss& args, Scratch& scratch) {
  for_floating<SoftmaxLoss>(args.hidden.dtype, [&]<class T>(T) { softmax<T>(args, scratch); });
}

template <>
void kernel(const SampledSoftmaxLoss& args, Scratch& scratch) {
  for_floating<SampledSoftmaxLoss>(args.hidden.dtype,
                                   [&]<class T>(T) { sampled_softmax<T>(args, scratch); });
}

template void entry(const SoftmaxLoss&, ScratchMemory&);
template void entry(const SampledSoftmaxLoss&, ScratchMemory&);

}  // namespace refrain::kernels::cpu
