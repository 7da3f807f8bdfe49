#include "refrain/train/sharded_items.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "refrain/core/parallel.hpp"
#include "refrain/distributed/agreement.hpp"
#include "refrain/kernels/pointwise.hpp"
#include "src/sharded_scores.hpp"

namespace refrain {
namespace {

/// differs from the stream numbers that layers split off
constexpr std::uint64_t items_stream = 0x49'5445'4D53;

/// The shape of `ids` followed by the extents of a row of the table.
Shape shape_of_rows(const Tensor& ids, const Tensor& table) {
  std::vector<std::int64_t> extents(ids.shape().extents().begin(), ids.shape().extents().end());
  const std::span row = table.shape().extents().subspan(1);
  extents.insert(extents.end(), row.begin(), row.end());
  return Shape(std::span<const std::int64_t>(extents));
}

ShardedItemsOptions checked(const ShardedItemsOptions& options) {
  if (options.width < 1) {
    throw OptionError(
        detail::concat("ShardedItems: expected a width of at least 1, got ", options.width));
  }
  if (!is_floating(options.dtype)) {
    throw DTypeError(detail::concat("ShardedItems: expected f32 or f64, got ", options.dtype));
  }
  return options;
}

void expect_same_ranks(Communicator& communicator, const ShardedItemsOptions& options,
                       const RandomState& random) {
  Identity own = build_identity();
  const AdamOptions& adam = options.adam;
  own.insert(own.end(), {{"items", std::to_string(options.count)},
                         {"width", std::to_string(options.width)},
                         {"deviation", detail::concat(options.deviation)},
                         {"dtype", name(options.dtype)},
                         {"learning rate", detail::concat(adam.learning_rate)},
                         {"beta1", detail::concat(adam.beta1)},
                         {"beta2", detail::concat(adam.beta2)},
                         {"epsilon", detail::concat(adam.epsilon)},
                         {"l2", detail::concat(adam.l2)},
                         {"decay", detail::concat(adam.decay)},
                         {"random stream of the items",
                          detail::concat("seed ", random.seed, ", stream ", random.stream, " at ",
                                         random.position)}});
  handshake(communicator, own);
}

/// Fills the rows of a shard: each block of rows from its own stream.
void fill_shard(Tensor rows, std::int64_t shard, const Random& random, double deviation) {
  for (std::int64_t begin = 0; begin < rows.size(0); begin += RowShards::block_rows) {
    const std::int64_t end = std::min(begin + RowShards::block_rows, rows.size(0));
    Tensor block = rows.slice(begin, end);
    const std::int64_t number = RowShards::row_of(shard, begin) / RowShards::block_rows;
    random.split(static_cast<std::uint64_t>(number)).fill_truncated_normal(block, deviation);
  }
}

/// The elements of a gradient: those of its rows when it is row-sparse.
const Tensor& elements_of(const Gradient& gradient) {
  return gradient.is_sparse() ? gradient.sparse().values : gradient.dense();
}

double squares_of(const Gradient& gradient) {
  if (!gradient.defined()) return 0;
  const Tensor& elements = elements_of(gradient);
  Tensor squares({}, elements.dtype());
  kernels::run(kernels::Dot{.a = elements, .b = elements, .out = squares});
  return squares.item();
}

void scale_gradient(Gradient& gradient, double factor) {
  if (!gradient.defined()) return;
  Tensor scaled = empty_like(elements_of(gradient));
  kernels::run(
      kernels::LinearCombination{.a = elements_of(gradient), .out = scaled, .alpha = factor});
  Gradient product;
  if (gradient.is_sparse()) {
    product.add(RowSparse{.rows = gradient.sparse().rows, .values = std::move(scaled)});
  } else {
    product.add(std::move(scaled));
  }
  gradient = std::move(product);
}

}  // namespace

/// Rows that were looked up by one call.
struct ShardedItems::LookUp {
  Tensor order;                        ///< [n] i32 numbers of the own ids, sorted by owner
  std::vector<std::int64_t> asked;     ///< [R] own ids that each rank owns
  std::vector<std::int64_t> answered;  ///< [R] ids of each rank that this rank owns
  Tensor rows;                         ///< own rows of the ids of all ranks, in order of the ranks
  bool with_bias = false;
  std::vector<Variable> weight;  ///< leaves of each own slice
  std::vector<Variable> bias;
};

ShardedItems::ShardedItems(Communicator& communicator, const ShardedItemsOptions& options,
                           Random& random)
    : communicator_(communicator),
      options_(checked(options)),
      shards_(options.count, communicator.size()),
      begins_(at(RowShards::count), 0) {
  expect_same_ranks(communicator, options, random.state());
  const std::int64_t rows = shards_.rows_of_rank(communicator.rank());
  weight_ = Tensor({rows, options.width}, options.dtype);
  bias_ = Tensor::zeros({rows}, options.dtype);
  const Random items = random.split(items_stream).split(random.bits());
  const SliceRange shards = shards_.shards_of(communicator.rank());
  std::int64_t begin = 0;
  std::vector<NamedParameter> parameters;
  for (std::int64_t shard = shards.begin; shard < shards.end; ++shard) {
    const std::int64_t end = begin + shards_.rows_of(shard);
    begins_[at(shard)] = begin;
    if (end > begin) {
      fill_shard(weight_.slice(begin, end), shard, items, options.deviation);
      own_.push_back({.number = shard,
                      .weight = Parameter(weight_.slice(begin, end)),
                      .bias = Parameter(bias_.slice(begin, end))});
    }
    begin = end;
  }
  for (Shard& shard : own_) {
    const std::string name =
        detail::concat("shard.", shard.number < 10 ? "0" : "", shard.number, ".");
    parameters.push_back({name + "weight", &shard.weight});
    parameters.push_back({name + "bias", &shard.bias, WeightDecay::exempt});
  }
  optimizer_ = std::make_unique<Adam>(parameters, options.adam);
}

ShardedItems::~ShardedItems() = default;

std::int64_t ShardedItems::bytes() const {
  return static_cast<std::int64_t>(weight_.bytes() + bias_.bytes()) + optimizer_->state_bytes();
}

ShardedItems::LookUp ShardedItems::look_up_rows(std::span<const Tensor> ids, bool with_bias) const {
  for (const Tensor& each : ids) detail::check_ids("look_up", "ids", each, count(), Device::cpu);
  const int ranks = communicator_.size();
  LookUp look_up{.order = {},
                 .asked = std::vector<std::int64_t>(at(ranks)),
                 .answered = std::vector<std::int64_t>(at(ranks)),
                 .rows = {},
                 .with_bias = with_bias,
                 .weight = {},
                 .bias = {}};
  std::vector<std::vector<std::int32_t>> numbers(at(ranks)), sent(at(ranks));
  std::int32_t number = 0;
  for (const Tensor& each : ids) {
    for (const std::int32_t id : each.span<std::int32_t>()) {
      const std::size_t owner = at(shards_.rank_of(id));
      numbers[owner].push_back(number++);
      sent[owner].push_back(id);
    }
  }
  std::vector<std::int32_t> order, sorted;
  for (std::size_t rank = 0; rank < at(ranks); ++rank) {
    look_up.asked[rank] = std::ssize(sent[rank]);
    order.insert(order.end(), numbers[rank].begin(), numbers[rank].end());
    sorted.insert(sorted.end(), sent[rank].begin(), sent[rank].end());
  }
  look_up.order = Tensor::from<std::int32_t>({std::ssize(order)}, order);

  // To each rank the number of its ids, and the kind of the call.
  const std::int64_t kind = (NoGrad::is_recording() ? 1 : 0) + (with_bias ? 2 : 0);
  Tensor header({ranks, 2}, DType::i64);
  for (std::int64_t rank = 0; rank < ranks; ++rank) {
    header.data<std::int64_t>()[2 * rank] = look_up.asked[at(rank)];
    header.data<std::int64_t>()[2 * rank + 1] = kind;
  }
  const std::vector<std::int64_t> one_each(at(ranks), 1);
  header = exchange_rows(communicator_, header, one_each, one_each);
  for (int rank = 0; rank < ranks; ++rank) {
    const std::int64_t* const other = header.data<std::int64_t>() + 2 * rank;
    look_up.answered[at(rank)] = other[0];
    if (other[1] != kind) {
      throw CommunicationError(
          detail::concat("look_up: ", communicator_.text(rank), " and ", communicator_.text(),
                         " differ in whether gradients are recorded or biases looked up"));
    }
  }
  look_up.rows =
      exchange_rows(communicator_, Tensor::from<std::int32_t>({std::ssize(sorted)}, sorted),
                    look_up.asked, look_up.answered);
  for (std::int32_t& row : look_up.rows.span<std::int32_t>()) {
    row =
        static_cast<std::int32_t>(begins_[at(RowShards::shard_of(row))] + RowShards::index_of(row));
  }
  look_up.weight = leaves_of(look_up, ids, weight_);
  if (with_bias) look_up.bias = leaves_of(look_up, ids, bias_);
  return look_up;
}

std::vector<Variable> ShardedItems::leaves_of(const LookUp& look_up, std::span<const Tensor> ids,
                                              const Tensor& table) const {
  const Tensor sorted = exchange_rows(communicator_, gathered_rows(table, look_up.rows),
                                      look_up.answered, look_up.asked);
  Tensor places(look_up.order.shape(), DType::i32);
  for (std::int64_t i = 0; i < places.numel(); ++i) {
    const std::int32_t number = look_up.order.data<std::int32_t>()[i];
    places.data<std::int32_t>()[number] = static_cast<std::int32_t>(i);
  }
  std::vector<Variable> leaves;
  std::int64_t begin = 0;
  for (const Tensor& each : ids) {
    const std::int64_t end = begin + each.numel();
    leaves.emplace_back(
        gathered_rows(sorted, places.slice(begin, end)).reshape(shape_of_rows(each, table)),
        NoGrad::is_recording());
    begin = end;
  }
  return leaves;
}

std::vector<Variable> ShardedItems::look_up(std::span<const Tensor> ids) {
  LookUp found = look_up_rows(ids, false);
  std::vector<Variable> rows = found.weight;
  if (NoGrad::is_recording()) pending_.push_back(std::move(found));
  return rows;
}

std::vector<ItemRows> ShardedItems::look_up_with_bias(std::span<const Tensor> ids) {
  LookUp found = look_up_rows(ids, true);
  std::vector<ItemRows> rows;
  for (std::size_t i = 0; i < ids.size(); ++i)
    rows.push_back({.weight = found.weight[i], .bias = found.bias[i]});
  if (NoGrad::is_recording()) pending_.push_back(std::move(found));
  return rows;
}

RowSparse ShardedItems::collect(std::vector<Variable> LookUp::*leaves, const Tensor& table) const {
  std::vector<RowSparse> parts;
  for (const LookUp& look_up : pending_) {
    if (leaves == &LookUp::bias && !look_up.with_bias) continue;
    Tensor own(table.shape().with(0, look_up.order.numel()), dtype());
    std::int64_t begin = 0;
    for (const Variable& leaf : look_up.*leaves) {
      const Shape& shape = leaf.shape();
      const std::int64_t end =
          begin + shape.numel() / std::max<std::int64_t>(1, table.shape().with(0, 1).numel());
      Tensor place = own.slice(begin, end).reshape(shape);
      if (leaf.gradient().defined()) {
        place.copy_from(leaf.gradient().to_dense(shape));
      } else {
        place.zero();
      }
      begin = end;
    }
    parts.push_back({.rows = look_up.rows,
                     .values = exchange_rows(communicator_, gathered_rows(own, look_up.order),
                                             look_up.asked, look_up.answered)});
  }
  return parts.empty() ? RowSparse{} : detail::merge(parts);
}

void ShardedItems::add_to_shards(const RowSparse& gradient, Parameter Shard::*parameter) {
  if (!gradient.rows.defined()) return;
  const std::span<const std::int32_t> rows = gradient.rows.span<std::int32_t>();
  const auto used = std::ranges::find(rows, -1);  // distinct rows, ascending
  for (Shard& shard : own_) {
    const std::int64_t first = begins_[at(shard.number)];
    const auto begin = std::lower_bound(rows.begin(), used, first);
    const auto end = std::lower_bound(begin, used, first + shard.weight.size(0));
    Tensor numbers({end - begin}, DType::i32);
    std::transform(begin, end, numbers.data<std::int32_t>(),
                   [&](std::int32_t row) { return static_cast<std::int32_t>(row - first); });
    // A shard without looked-up rows has a gradient without rows, so that the update counts of all
    // shards are equal.
    (shard.*parameter)
        .gradient()
        .add(RowSparse{.rows = std::move(numbers),
                       .values = gradient.values.slice(begin - rows.begin(), end - rows.begin())});
  }
}

void ShardedItems::send_gradients() {
  add_to_shards(collect(&LookUp::weight, weight_), &Shard::weight);
  add_to_shards(collect(&LookUp::bias, bias_), &Shard::bias);
  pending_.clear();
}

double ShardedItems::clip_gradients(double max_norm, double other_squares) {
  if (!(max_norm > 0))
    throw OptionError(detail::concat("clip_gradients: expected max_norm > 0, got ", max_norm));
  if (other_squares < 0) {
    throw OptionError(
        detail::concat("clip_gradients: expected other_squares >= 0, got ", other_squares));
  }
  send_gradients();
  std::vector<std::int64_t> shards_of_ranks;
  for (int rank = 0; rank < communicator_.size(); ++rank) {
    const SliceRange shards = shards_.shards_of(rank);
    shards_of_ranks.push_back(shards.end - shards.begin);
  }
  const std::int64_t first = shards_.shards_of(communicator_.rank()).begin;
  Tensor own = Tensor::zeros({shards_of_ranks[at(communicator_.rank())]}, DType::f64);
  for (const Shard& shard : own_) {
    own.data<double>()[shard.number - first] =
        squares_of(shard.weight.gradient()) + squares_of(shard.bias.gradient());
  }
  const Tensor squares = gather_tensors(communicator_, own, shards_of_ranks);
  double sum = other_squares;
  for (const double of_shard : squares.span<double>()) sum += of_shard;
  const double norm = std::sqrt(sum);
  if (!std::isfinite(norm) || norm <= max_norm) return norm;
  for (Shard& shard : own_) {
    for (Parameter* parameter : {&shard.weight, &shard.bias})
      scale_gradient(parameter->gradient(), max_norm / norm);
  }
  return norm;
}

void ShardedItems::step() {
  send_gradients();
  optimizer_->step();
  optimizer_->zero_grad();
}

void ShardedItems::assign(const Tensor& weight, const Tensor& bias) {
  const auto expect = [&](const char* what, const Tensor& got, const Shape& shape) {
    detail::check_shape("ShardedItems::assign", what, got, shape);
    if (got.dtype() != dtype()) {
      throw DTypeError(detail::concat("ShardedItems::assign: expected ", what, " of ", dtype(),
                                      ", got ", got.dtype()));
    }
    if (got.device() != Device::cpu) {
      throw DeviceError(detail::concat("ShardedItems::assign: expected ", what, " on the CPU, got ",
                                       got.device()));
    }
  };
  expect("weight", weight, {count(), width()});
  expect("bias", bias, {count()});
  for (Shard& shard : own_) {
    Tensor ids({shard.weight.size(0)}, DType::i32);
    for (std::int64_t i = 0; i < ids.numel(); ++i) {
      ids.data<std::int32_t>()[i] = static_cast<std::int32_t>(RowShards::row_of(shard.number, i));
    }
    shard.weight.value().copy_from(gathered_rows(weight, ids));
    shard.bias.value().copy_from(gathered_rows(bias, ids));
  }
}

Tensor ShardedItems::gather(const Tensor& table) const {
  std::vector<std::int64_t> rows;
  for (int rank = 0; rank < communicator_.size(); ++rank)
    rows.push_back(shards_.rows_of_rank(rank));
  const Tensor sorted = gather_tensors(communicator_, table, rows);
  std::vector<std::int64_t> begins{0};
  for (std::int64_t shard = 0; shard < RowShards::count; ++shard)
    begins.push_back(begins.back() + shards_.rows_of(shard));
  Tensor places({count()}, DType::i32);
  for (std::int64_t row = 0; row < count(); ++row) {
    places.data<std::int32_t>()[row] =
        static_cast<std::int32_t>(begins[at(RowShards::shard_of(row))] + RowShards::index_of(row));
  }
  return gathered_rows(sorted, places);
}

Tensor ShardedItems::gather_weight() const { return gather(weight_); }
Tensor ShardedItems::gather_bias() const { return gather(bias_); }

}  // namespace refrain
