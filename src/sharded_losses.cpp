// Losses over items that are sharded over ranks.

#include <bit>
#include <cmath>
#include <limits>
#include <utility>

#include "refrain/core/parallel.hpp"
#include "refrain/kernels/sum_rows.hpp"
#include "refrain/ops/pointwise.hpp"
#include "refrain/train/slices.hpp"
#include "src/sharded_scores.hpp"

namespace refrain {
namespace {

/// Columns of the sums over some items, one row for each hidden vector.
struct Column {
  enum : std::int64_t {
    maximum,       ///< largest score; -infinity without items
    exponentials,  ///< sum of exp(score - maximum)
    target,        ///< score of the target; 0 if it is another item
    total,         ///< sum of the scores, with label smoothing
    count
  };
};

/// left = the sums over the items of both.
void join_sums(Tensor& left, const Tensor& right) {
  double* a = left.data<double>();
  const double* b = right.data<double>();
  for (std::int64_t row = 0; row < left.size(0); ++row, a += Column::count, b += Column::count) {
    const double top =
        a[Column::maximum] > b[Column::maximum] ? a[Column::maximum] : b[Column::maximum];
    const auto share = [&](const double* sums) {
      return sums[Column::exponentials] == 0
                 ? 0
                 : sums[Column::exponentials] * std::exp(sums[Column::maximum] - top);
    };
    a[Column::exponentials] = share(a) + share(b);
    a[Column::maximum] = top;
    a[Column::target] += b[Column::target];
    a[Column::total] += b[Column::total];
  }
}

void join_gradients(Tensor& left, const Tensor& right) {
  kernels::run(kernels::LinearCombination{.a = left, .b = right, .out = left});
}

/// Folds one tensor for each node of the tree over the shards, added from left to right.
template <class Join>
class Fold {
 public:
  explicit Fold(Join join) : join_(join) {}

  void add(SliceRange node, Tensor value) {
    for (; !nodes_.empty() && tree_.joins(nodes_.back(), node); nodes_.pop_back()) {
      join_(values_.back(), value);
      value = std::move(values_.back());
      values_.pop_back();
      node.begin = nodes_.back().begin;
    }
    nodes_.push_back(node);
    values_.push_back(std::move(value));
  }

  const std::vector<Tensor>& values() const noexcept { return values_; }

 private:
  SliceTree tree_ = RowShards::tree();
  Join join_;
  std::vector<SliceRange> nodes_;
  std::vector<Tensor> values_;
};

/// Folds the sums [M,w] that all ranks have of the nodes of their shards; every rank gets its own
/// rows. rows: those of each rank.
template <class Join>
Tensor fold_own_rows(const ShardedItems& items, const std::vector<Tensor>& sums,
                     std::span<const std::int64_t> rows, Join join) {
  Communicator& communicator = items.communicator();
  const auto nodes_of = [&](std::int64_t rank) {
    return RowShards::tree().nodes(items.shards().shards_of(static_cast<int>(rank)));
  };
  const std::int64_t own = rows[at(communicator.rank())];
  const auto parts = std::ssize(sums);
  Tensor sent(sums.front().shape().with(0, parts * sums.front().size(0)), sums.front().dtype());
  std::vector<std::int64_t> to, from;
  std::int64_t begin = 0, next = 0;
  for (std::int64_t rank = 0; rank < std::ssize(rows); ++rank) {
    const std::int64_t count = rows[at(rank)];
    for (const Tensor& sum : sums) {
      sent.slice(next, next + count).copy_from(sum.slice(begin, begin + count));
      next += count;
    }
    begin += count;
    to.push_back(parts * count);
    from.push_back(std::ssize(nodes_of(rank)) * own);
  }
  const Tensor received = exchange_rows(communicator, sent, to, from);
  Fold<Join> fold(join);
  next = 0;
  for (std::int64_t rank = 0; rank < std::ssize(rows); ++rank) {
    for (const SliceRange node : nodes_of(rank)) {
      fold.add(node, received.slice(next, next + own));
      next += own;
    }
  }
  return fold.values().front();
}

/// The counted hidden vectors of all ranks, and what the ranks know of their softmax.
struct CountedRows {
  std::vector<std::int64_t> rows;  ///< of each rank
  Tensor hidden;                   ///< [M,C]
  Tensor targets;                  ///< [M] i32
  double smoothing = 0;

  std::int64_t count() const { return targets.numel(); }
  /// The number of the target of a row in the shard, or -1.
  std::int64_t target_in(std::int64_t shard, std::int64_t row) const {
    const std::int64_t id = targets.data<std::int32_t>()[row];
    return RowShards::shard_of(id) == shard ? RowShards::index_of(id) : -1;
  }
};

/// Rows of a block for one task.
std::int64_t score_rows_per_task(std::int64_t items) {
  return std::max<std::int64_t>(1, 16384 / items);
}

/// The sums [M,columns] over the items of a shard.
template <class T>
Tensor sums_over(const CountedRows& counted, const ShardedItems::Shard& shard) {
  Tensor sums({counted.count(), Column::count}, DType::f64);
  ScoreBlocks blocks(counted.hidden, shard.weight.value(), shard.bias.value());
  const std::int64_t items = shard.weight.size(0);
  for (std::int64_t block = 0; block < blocks.count(); ++block) {
    const Tensor scores = blocks.scores(block);
    parallel_for(
        scores.size(0), score_rows_per_task(items), [&](std::int64_t begin, std::int64_t end) {
          for (std::int64_t i = begin; i < end; ++i) {
            const std::int64_t row = blocks.begin(block) + i;
            const std::span<const T> z = scores.span<T>().subspan(at(i * items), at(items));
            T top = z.front();
            for (const T score : z) top = score > top ? score : top;
            double exponentials = 0, total = 0;
            for (const T score : z) exponentials += static_cast<double>(std::exp(score - top));
            if (counted.smoothing > 0) {
              for (const T score : z) total += static_cast<double>(score);
            }
            const std::int64_t own_target = counted.target_in(shard.number, row);
            double* const out = sums.data<double>() + row * Column::count;
            out[Column::maximum] = static_cast<double>(top);
            out[Column::exponentials] = exponentials;
            out[Column::target] = own_target < 0 ? 0 : static_cast<double>(z[at(own_target)]);
            out[Column::total] = total;
          }
        });
  }
  return sums;
}

/// The gradients of the mean loss for one shard.
struct ShardGradients {
  Tensor hidden;  ///< [M,C]
  Tensor weight;
  Tensor bias;
};

/// normalizers [M,2]: log of the sum of the exponentials over all items, first column.
template <class T>
ShardGradients differentiate(const CountedRows& counted, const ShardedItems::Shard& shard,
                             const Tensor& normalizers, std::int64_t all_items) {
  const Tensor& weight = shard.weight.value();
  ShardGradients gradients{.hidden = empty_like(counted.hidden),
                           .weight = Tensor::zeros(weight.shape(), weight.dtype()),
                           .bias = Tensor::zeros({weight.size(0)}, weight.dtype())};
  Tensor block_bias = empty_like(gradients.bias);
  ScoreBlocks blocks(counted.hidden, weight, shard.bias.value());
  const std::int64_t items = weight.size(0);
  const double share = 1 / static_cast<double>(counted.count());
  const T scale = static_cast<T>(share);
  const T uniform = static_cast<T>(share * counted.smoothing / static_cast<double>(all_items));
  const T at_target = static_cast<T>(share * (1 - counted.smoothing));
  for (std::int64_t block = 0; block < blocks.count(); ++block) {
    Tensor scores = blocks.scores(block);
    parallel_for(scores.size(0), score_rows_per_task(items),
                 [&](std::int64_t begin, std::int64_t end) {
                   for (std::int64_t i = begin; i < end; ++i) {
                     const std::int64_t row = blocks.begin(block) + i;
                     const T log_z = static_cast<T>(normalizers.data<double>()[2 * row]);
                     const std::span<T> z = scores.span<T>().subspan(at(i * items), at(items));
                     for (T& score : z) score = std::exp(score - log_z) * scale - uniform;
                     const std::int64_t own_target = counted.target_in(shard.number, row);
                     if (own_target >= 0) z[at(own_target)] -= at_target;
                   }
                 });
    Tensor dhidden = gradients.hidden.slice(blocks.begin(block), blocks.end(block));
    kernels::run(kernels::Matmul{.a = scores, .b = weight, .c = dhidden});
    kernels::run(
        kernels::AddOuterProducts{.a = scores, .b = blocks.hidden(block), .c = gradients.weight});
    kernels::run(kernels::SumRows{.x = scores, .out = block_bias});
    join_gradients(gradients.bias, block_bias);
  }
  return gradients;
}

/// Loss and gradients of the own hidden vectors and the own shards.
struct Differentiated {
  double loss = 0;
  Tensor hidden;  ///< [m,C]; undefined without gradients, as below
  std::vector<ShardGradients> shards;
};

template <class T>
Differentiated softmax(ShardedItems& items, const CountedRows& counted, bool gradients) {
  Communicator& communicator = items.communicator();
  const SliceRange shards = items.shards().shards_of(communicator.rank());
  // Calls add(shard) for the own shards in order, with null for one without rows.
  const auto for_shards = [&](auto&& add) {
    auto next = items.own().begin();
    for (std::int64_t number = shards.begin; number < shards.end; ++number) {
      const bool has_rows = next != items.own().end() && next->number == number;
      add(number, has_rows ? &*next : nullptr);
      if (has_rows) ++next;
    }
  };

  Fold fold(join_sums);
  for_shards([&](std::int64_t number, const ShardedItems::Shard* shard) {
    Tensor sums;
    if (shard != nullptr) {
      sums = sums_over<T>(counted, *shard);
    } else {
      sums = Tensor::zeros({counted.count(), Column::count}, DType::f64);
      for (std::int64_t row = 0; row < counted.count(); ++row)
        sums.data<double>()[row * Column::count + Column::maximum] =
            -std::numeric_limits<double>::infinity();
    }
    fold.add({number, number + 1}, std::move(sums));
  });
  const Tensor sums = fold_own_rows(items, fold.values(), counted.rows, join_sums);

  // The logarithm of the normalizer and the loss of each own row, then of all rows.
  Tensor own({sums.size(0), 2}, DType::f64);
  const double smoothing = counted.smoothing;
  for (std::int64_t row = 0; row < sums.size(0); ++row) {
    const double* const from = sums.data<double>() + row * Column::count;
    double* const to = own.data<double>() + 2 * row;
    to[0] = from[Column::maximum] + std::log(from[Column::exponentials]);
    to[1] = to[0] - (1 - smoothing) * from[Column::target] -
            smoothing / static_cast<double>(items.count()) * from[Column::total];
  }
  const Tensor normalizers = gather_tensors(communicator, own, counted.rows);
  Differentiated result;
  for (std::int64_t row = 0; row < counted.count(); ++row)
    result.loss += normalizers.data<double>()[2 * row + 1];
  if (counted.count() > 0) result.loss /= static_cast<double>(counted.count());
  if (!gradients) return result;

  Fold hidden_fold(join_gradients);
  for_shards([&](std::int64_t number, const ShardedItems::Shard* shard) {
    Tensor hidden;
    if (shard != nullptr) {
      result.shards.push_back(differentiate<T>(counted, *shard, normalizers, items.count()));
      hidden = std::exchange(result.shards.back().hidden, {});
    } else {
      hidden = Tensor::zeros(counted.hidden.shape(), items.dtype());
    }
    hidden_fold.add({number, number + 1}, std::move(hidden));
  });
  result.hidden = fold_own_rows(items, hidden_fold.values(), counted.rows, join_gradients);
  return result;
}

/// The loss of all ranks as the result of an operation on this rank. A rank without inputs that
/// require a gradient gets a leaf, from which backward() may start as on other ranks.
template <class Backward>
Variable recorded(const char* op, double loss, DType dtype, std::span<const Variable> inputs,
                  Backward backward) {
  Tensor value = Tensor::full({}, loss, dtype);
  if (NoGrad::is_recording() && !detail::is_any_recorded(inputs)) return Variable(value, true);
  return record(op, std::move(value), inputs, std::move(backward));
}

/// Checks the arguments that both losses have in common.
void check_slices(const char* op, std::span<const Variable> hidden, const ShardedItems& items,
                  std::span<const Tensor> targets) {
  if (hidden.size() != targets.size()) {
    throw OptionError(detail::concat(op, ": expected targets of ", hidden.size(),
                                     " slices, one for each tensor of hidden vectors, got ",
                                     targets.size()));
  }
  for (std::size_t slice = 0; slice < hidden.size(); ++slice) {
    detail::check_defined(op, "hidden", hidden[slice]);
    check_hidden(op, hidden[slice].value(), items);
    detail::check_id_per_row(op, "targets", targets[slice], "hidden", hidden[slice]);
    detail::check_ids(op, "targets", targets[slice], items.count(), Device::cpu);
  }
}

/// The numbers of the targets that are counted, i32 [m].
Tensor counted_positions(const Tensor& targets, std::int64_t ignored) {
  std::vector<std::int32_t> positions;
  for (std::int32_t i = 0; i < targets.numel(); ++i) {
    if (targets.data<std::int32_t>()[i] != ignored) positions.push_back(i);
  }
  return Tensor::from<std::int32_t>({std::ssize(positions)}, positions);
}

/// The rows `positions` of the slices of all ranks.
CountedRows gather_counted(ShardedItems& items, std::span<const Variable> hidden,
                           std::span<const Tensor> targets, std::span<const Tensor> positions,
                           bool gradients, double smoothing) {
  std::int64_t own = 0;
  for (const Tensor& each : positions) own += each.numel();
  Tensor own_hidden({own, items.width()}, items.dtype()), own_targets({own}, DType::i32);
  std::int64_t row = 0;
  for (std::size_t slice = 0; slice < hidden.size(); ++slice) {
    const Tensor& of_slice = positions[slice];
    own_hidden.slice(row, row + of_slice.numel())
        .copy_from(gathered_rows(hidden[slice].value().as_matrix(), of_slice));
    for (const std::int32_t position : of_slice.span<std::int32_t>())
      own_targets.data<std::int32_t>()[row++] = targets[slice].data<std::int32_t>()[position];
  }
  Communicator& communicator = items.communicator();
  std::vector<std::int64_t> rows = rows_of_ranks(
      communicator, "softmax_loss", own, "whether gradients are recorded or in label smoothing",
      {gradients ? 1 : 0, std::bit_cast<std::int64_t>(smoothing)});
  Tensor all_hidden = gather_tensors(communicator, own_hidden, rows);
  Tensor all_targets = gather_tensors(communicator, own_targets, rows);
  return {.rows = std::move(rows),
          .hidden = std::move(all_hidden),
          .targets = std::move(all_targets),
          .smoothing = smoothing};
}

}  // namespace

Variable softmax_loss(std::span<const Variable> hidden, ShardedItems& items,
                      std::span<const Tensor> targets, const SoftmaxLossOptions& options) {
  constexpr const char* op = "softmax_loss";
  check_slices(op, hidden, items, targets);
  if (!(options.smoothing >= 0 && options.smoothing < 1)) {
    throw OptionError(detail::concat("softmax_loss: smoothing: expected a number in [0, 1), got ",
                                     options.smoothing));
  }
  std::vector<Variable> inputs;
  std::vector<Tensor> positions;
  for (std::size_t slice = 0; slice < hidden.size(); ++slice) {
    inputs.push_back(options.relu ? relu(hidden[slice]) : hidden[slice]);
    positions.push_back(counted_positions(targets[slice], options.ignored));
  }
  const bool gradients = NoGrad::is_recording();
  const CountedRows counted =
      gather_counted(items, inputs, targets, positions, gradients, options.smoothing);
  Differentiated result;
  with_type(items.dtype(), [&]<class T>(T) { result = softmax<T>(items, counted, gradients); });

  for (const ShardedItems::Shard& shard : items.own()) {
    inputs.push_back(shard.weight);
    inputs.push_back(shard.bias);
  }
  return recorded(
      op, result.loss, items.dtype(), inputs,
      [result, positions](const UpstreamGradient& dy, const InputGradients& gradients_of) {
        std::size_t input = 0;
        const auto add = [&](const Tensor& gradient) {
          InputGradient to = gradients_of[input++];
          if (to.needed()) to.add(detail::times(gradient, dy));
        };
        std::int64_t first = 0;
        for (const Tensor& places : positions) {
          const Shape& shape = gradients_of[input].shape();
          Tensor gradient = Tensor::zeros(shape, result.hidden.dtype());
          Tensor rows = gradient.as_matrix();
          kernels::run(
              kernels::AddRows{.rows = places,
                               .values = result.hidden.slice(first, first + places.numel()),
                               .to = rows});
          first += places.numel();
          add(gradient);
        }
        for (const ShardGradients& shard : result.shards) {
          add(shard.weight);
          add(shard.bias);
        }
      });
}

Variable sampled_softmax_loss(std::span<const Variable> hidden, ShardedItems& items,
                              std::span<const Tensor> targets,
                              std::span<const Candidates> candidates,
                              const SampledSoftmaxLossOptions& options) {
  constexpr const char* op = "sampled_softmax_loss";
  check_slices(op, hidden, items, targets);
  if (candidates.size() != hidden.size()) {
    throw OptionError(detail::concat(op, ": expected candidates of ", hidden.size(),
                                     " slices, got ", candidates.size()));
  }
  // The distinct ids of each slice are a small table, in which the loss is computed.
  std::vector<Tensor> ids;
  std::vector<std::vector<std::int64_t>> counts;
  std::int64_t own = 0;
  for (std::size_t slice = 0; slice < hidden.size(); ++slice) {
    const Tensor& sampled = candidates[slice].ids;
    detail::check_ids(op, "candidates.ids", sampled, items.count(), Device::cpu);
    std::vector<std::int32_t> all(sampled.span<std::int32_t>().begin(),
                                  sampled.span<std::int32_t>().end());
    const std::span of_targets = targets[slice].span<std::int32_t>();
    all.insert(all.end(), of_targets.begin(), of_targets.end());
    std::ranges::sort(all);
    all.erase(std::unique(all.begin(), all.end()), all.end());
    ids.push_back(Tensor::from<std::int32_t>({std::ssize(all)}, all));
    counts.push_back({counted_positions(targets[slice], options.ignored).numel()});
    own += counts.back().front();
  }
  Communicator& communicator = items.communicator();
  std::int64_t total = 0;
  for (const std::int64_t count :
       gather_values(communicator, std::span<const std::int64_t>(&own, 1)))
    total += count;
  const std::vector<ItemRows> rows = items.look_up_with_bias(ids);

  Variable sum;
  std::vector<Tensor> losses;
  for (std::size_t slice = 0; slice < hidden.size(); ++slice) {
    if (counts[slice].front() == 0) continue;
    const std::span<const std::int32_t> known = std::as_const(ids[slice]).span<std::int32_t>();
    const auto place_of = [&](std::int64_t id) {
      const auto found = std::lower_bound(known.begin(), known.end(), id);
      return found != known.end() && *found == id ? static_cast<std::int32_t>(found - known.begin())
                                                  : -1;
    };
    const auto placed = [&](const Tensor& global) {
      Tensor local(global.shape(), DType::i32);
      std::ranges::transform(std::as_const(global).span<std::int32_t>(), local.data<std::int32_t>(),
                             place_of);
      return local;
    };
    Candidates local = candidates[slice];
    local.ids = placed(local.ids);
    const Variable mean = sampled_softmax_loss(
        hidden[slice], rows[slice].weight, rows[slice].bias, placed(targets[slice]), local,
        {.ignored = place_of(options.ignored), .remove_hits = options.remove_hits});
    const Variable part =
        scale(mean, static_cast<double>(counts[slice].front()) / static_cast<double>(total));
    sum = sum.defined() ? sum + part : part;
    losses.push_back(part.value());
  }
  double loss = 0;
  for (const Tensor& part : detail::gather_losses(communicator, losses, items.dtype()))
    loss += part.item();
  return recorded(op, loss, items.dtype(), std::span(&sum, sum.defined() ? 1 : 0),
                  [](const UpstreamGradient& dy, const InputGradients& gradients) {
                    gradients[0].add(Tensor(dy));
                  });
}

}  // namespace refrain
