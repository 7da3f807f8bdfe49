#pragma once
/// Reference loops in double for the losses, written from the formulas only.

#include <cmath>

#include "support/naive.hpp"

namespace refrain::test::naive {

/// log sum exp, relative to the largest term.
inline double log_sum_exp(const Values& values) {
  double top = -HUGE_VAL;
  for (const double value : values) top = std::max(top, value);
  double sum = 0;
  for (const double value : values) sum += std::exp(value - top);
  return top + std::log(sum);
}

inline double score(const Values& hidden, std::size_t row, const Values& weight, std::size_t item,
                    std::size_t channels) {
  double sum = 0;
  for (std::size_t c = 0; c < channels; ++c)
    sum += hidden[row * channels + c] * weight[item * channels + c];
  return sum;
}

struct SoftmaxLoss {
  double loss = 0;
  Values dhidden, dweight, dbias;
};

/// Mean over rows whose target is not `ignored` of the cross-entropy -sum_v q_v log p_v, with
/// p = softmax_v(h . w_v + b_v) and q_v = (1 - smoothing) [v is the target] + smoothing / V.
inline SoftmaxLoss softmax_loss(Values hidden, const Values& weight, const Values& bias,
                                const Ids& targets, std::size_t channels, std::int32_t ignored,
                                bool relu, double smoothing = 0) {
  const std::size_t items = weight.size() / std::max<std::size_t>(1, channels);
  SoftmaxLoss out{0, Values(hidden.size()), Values(weight.size()), Values(items)};
  const Values before = hidden;
  for (double& value : hidden) value = relu ? std::max(0.0, value) : value;
  double counted = 0;
  for (const std::int32_t target : targets) counted += target != ignored;
  for (std::size_t row = 0; row < targets.size(); ++row) {
    if (targets[row] == ignored) continue;
    Values scores(items);
    for (std::size_t v = 0; v < items; ++v)
      scores[v] = score(hidden, row, weight, v, channels) + (bias.empty() ? 0.0 : bias[v]);
    const double log_z = log_sum_exp(scores);
    for (std::size_t v = 0; v < items; ++v) {
      const double q =
          (v == at(targets[row]) ? 1 - smoothing : 0.0) + smoothing / static_cast<double>(items);
      out.loss -= q * (scores[v] - log_z) / counted;
      const double d = (std::exp(scores[v] - log_z) - q) / counted;
      out.dbias[v] += d;
      for (std::size_t c = 0; c < channels; ++c) {
        out.dweight[v * channels + c] += d * hidden[row * channels + c];
        if (!relu || before[row * channels + c] > 0)
          out.dhidden[row * channels + c] += d * weight[v * channels + c];
      }
    }
  }
  return out;
}

struct SampledLoss {
  double loss = 0;
  Values dhidden;
  Values dweight_rows;  ///< gradients of the negatives, then of each row's target
  Values dbias_rows;
};

/// Cross-entropy of the target against the negatives; log Q is subtracted from the scores if given.
inline SampledLoss sampled_softmax_loss(const Values& hidden, const Values& weight,
                                        const Values& bias, const Ids& targets,
                                        const Ids& negatives, const Values& log_q_true,
                                        const Values& log_q_negative, std::size_t channels,
                                        std::int32_t ignored, bool remove_hits) {
  const std::size_t samples = negatives.size();
  SampledLoss out{0, Values(hidden.size()), Values((samples + targets.size()) * channels),
                  Values(samples + targets.size())};
  double counted = 0;
  for (const std::int32_t target : targets) counted += target != ignored;
  for (std::size_t row = 0; row < targets.size(); ++row) {
    if (targets[row] == ignored) continue;
    struct Term {
      std::size_t item, slot;
      double score;
    };
    std::vector<Term> terms;
    const auto add = [&](std::int32_t item, std::size_t slot, double log_q) {
      const double b = bias.empty() ? 0.0 : bias[at(item)];
      terms.push_back({at(item), slot, score(hidden, row, weight, at(item), channels) + b - log_q});
    };
    add(targets[row], samples + row, log_q_true.empty() ? 0.0 : log_q_true[row]);
    for (std::size_t j = 0; j < samples; ++j) {
      if (remove_hits && negatives[j] == targets[row]) continue;
      add(negatives[j], j, log_q_negative.empty() ? 0.0 : log_q_negative[j]);
    }
    Values scores;
    for (const Term& term : terms) scores.push_back(term.score);
    const double log_z = log_sum_exp(scores);
    out.loss += (log_z - scores[0]) / counted;
    for (std::size_t i = 0; i < terms.size(); ++i) {
      const double d = (std::exp(scores[i] - log_z) - (i == 0 ? 1.0 : 0.0)) / counted;
      out.dbias_rows[terms[i].slot] += d;
      for (std::size_t c = 0; c < channels; ++c) {
        out.dweight_rows[terms[i].slot * channels + c] += d * hidden[row * channels + c];
        out.dhidden[row * channels + c] += d * weight[terms[i].item * channels + c];
      }
    }
  }
  return out;
}

/// The loss of pairs of a positive and a negative row of the table.
struct PairLoss {
  double loss = 0;
  Values duser, dtable_rows;
};

inline PairLoss pair_loss(const Values& user, const Values& table, const Ids& positives,
                          const Ids& negatives, std::size_t width, bool bpr) {
  const std::size_t rows = positives.size();
  PairLoss out{0, Values(rows * width), Values(2 * rows * width)};
  const double share = 1 / static_cast<double>(rows);
  for (std::size_t row = 0; row < rows; ++row) {
    const std::size_t positive = at(positives[row]), negative = at(negatives[row]);
    const double p = score(user, row, table, positive, width),
                 n = score(user, row, table, negative, width);
    double dp = sigmoid(p - n) - 1, dn = 1 - sigmoid(p - n);
    if (bpr) {
      out.loss -= share * std::log(sigmoid(p - n));
    } else {
      out.loss -= share * (std::log(sigmoid(p)) + std::log(sigmoid(-n)));
      dp = sigmoid(p) - 1;
      dn = sigmoid(n);
    }
    for (std::size_t c = 0; c < width; ++c) {
      out.duser[row * width + c] =
          share * (dp * table[positive * width + c] + dn * table[negative * width + c]);
      out.dtable_rows[row * width + c] = share * dp * user[row * width + c];
      out.dtable_rows[(rows + row) * width + c] = share * dn * user[row * width + c];
    }
  }
  return out;
}

}  // namespace refrain::test::naive
