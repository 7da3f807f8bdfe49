#include "refrain/distributed/tree_sum.hpp"

#include <algorithm>

#include "refrain/core/parallel.hpp"
#include "refrain/kernels/pointwise.hpp"
#include "refrain/kernels/run.hpp"
#include "src/ranks.hpp"

namespace refrain {
namespace {

void expect_gradients(const TensorChunks& chunks, const PartialSum& part) {
  if (part.gradients.empty()) return;
  if (part.gradients.size() != chunks.shapes().size()) {
    throw OptionError(detail::concat("sum_chunks: expected ", chunks.shapes().size(),
                                     " gradients, one for each tensor, got ",
                                     part.gradients.size()));
  }
  for (std::size_t i = 0; i < part.gradients.size(); ++i) {
    const Tensor& gradient = part.gradients[i];
    if (!gradient.defined()) continue;
    if (gradient.shape() != chunks.shapes()[i]) {
      throw ShapeError(detail::concat("sum_chunks: gradient ", i, ": expected ", chunks.shapes()[i],
                                      ", got ", gradient.shape()));
    }
    if (gradient.dtype() != chunks.dtype()) {
      throw DTypeError(detail::concat("sum_chunks: gradient ", i, ": expected ", chunks.dtype(),
                                      ", got ", gradient.dtype()));
    }
    if (gradient.device() != chunks.device()) {
      throw DeviceError(detail::concat("sum_chunks: gradient ", i, ": expected a tensor on ",
                                       chunks.device(), ", got one on ", gradient.device()));
    }
  }
}

std::string text_of(const std::vector<SliceRange>& nodes) {
  std::string text;
  for (const SliceRange& node : nodes)
    text += detail::concat(text.empty() ? "[" : " [", node.begin, ", ", node.end, ")");
  return text.empty() ? "none" : text;
}

/// The nodes of each rank, and which gradients they define.
struct AllParts {
  std::vector<std::vector<SliceRange>> nodes;      // [rank]
  std::vector<std::vector<std::uint8_t>> defined;  // [rank][node * tensors + tensor]
};

AllParts gather_parts(Communicator& communicator, const SliceTree& tree, const TensorChunks& chunks,
                      const std::vector<PartialSum>& parts) {
  const std::size_t tensors = chunks.shapes().size();
  const std::size_t self = at(communicator.rank());
  AllParts all;
  for (int rank = 0; rank < communicator.size(); ++rank) {
    all.nodes.push_back(tree.nodes(tree.slices_of(rank, communicator.size())));
    all.defined.emplace_back(all.nodes.back().size() * tensors);
  }
  std::vector<SliceRange> own;
  for (const PartialSum& part : parts) {
    for (std::size_t i = 0; i < part.gradients.size(); ++i)
      all.defined[self].at(own.size() * tensors + i) = part.gradients[i].defined() ? 1 : 0;
    own.push_back(part.node);
  }
  std::vector<std::span<std::byte>> blocks;
  for (std::vector<std::uint8_t>& defined : all.defined)
    blocks.push_back(std::as_writable_bytes(std::span(defined)));
  communicator.all_gather(std::as_bytes(std::span(all.defined[self])), blocks);
  return all;
}

/// The elements of the gradients of `parts` in the chunk of another rank, in the order of nodes and
/// pieces.
Tensor packed(const TensorChunks& chunks, int rank, const std::vector<PartialSum>& parts) {
  const std::vector<TensorChunks::Piece> pieces = chunks.pieces(rank);
  const auto for_all = [&](auto&& function) {
    for (const PartialSum& part : parts) {
      if (part.gradients.empty()) continue;
      for (const TensorChunks::Piece& piece : pieces) {
        const Tensor& gradient = part.gradients[piece.tensor];
        if (gradient.defined()) function(bytes_of(gradient), piece.range);
      }
    }
  };
  std::int64_t count = 0;
  for_all([&](auto, const TensorChunks::Range& range) { count += range.count(); });
  Tensor packed({count}, chunks.dtype(), chunks.device());
  const std::size_t element = size_bytes(chunks.dtype());
  std::byte* to = bytes_of(packed).data();
  for_all([&](std::span<const std::byte> gradient, const TensorChunks::Range& range) {
    const std::size_t size = at(range.count()) * element;
    copy_bytes(to, chunks.device(), gradient.data() + at(range.begin) * element, chunks.device(),
               size);
    to += size;
  });
  return packed;
}

/// Partial sums of one piece, from left to right.
class PieceSum {
 public:
  explicit PieceSum(const SliceTree& tree) : tree_(tree) {}

  /// Adds the next node; undefined: no gradient. The elements are overwritten.
  void add(SliceRange node, Tensor values) {
    for (; !stack_.empty() && tree_.joins(stack_.back().node, node); stack_.pop_back()) {
      Tensor& left = stack_.back().values;
      if (left.defined() && values.defined())
        kernels::run(kernels::LinearCombination{.a = left, .b = values, .out = left});
      if (left.defined()) values = left;
      node.begin = stack_.back().node.begin;
    }
    stack_.push_back({node, std::move(values)});
  }

  /// The sum over all slices; undefined when none has a gradient.
  const Tensor& total() const { return stack_.back().values; }

 private:
  struct Entry {
    SliceRange node;
    Tensor values;
  };
  const SliceTree& tree_;
  std::vector<Entry> stack_;
};

ChunkSum add_in_order(const SliceTree& tree, const TensorChunks& chunks, int rank,
                      const AllParts& all, const std::vector<Tensor>& received) {
  const std::size_t tensors = chunks.shapes().size();
  const std::vector<TensorChunks::Piece> pieces = chunks.pieces(rank);
  std::vector<PieceSum> sums(pieces.size(), PieceSum(tree));
  ChunkSum result{
      .values = Tensor::zeros({chunks.chunk(rank).count()}, chunks.dtype(), chunks.device()),
      .is_defined = std::vector<bool>(tensors, false)};
  for (std::size_t from = 0; from < received.size(); ++from) {
    std::int64_t next = 0;
    for (std::size_t node = 0; node < all.nodes[from].size(); ++node) {
      const std::span defined = std::span(all.defined[from]).subspan(node * tensors, tensors);
      for (std::size_t i = 0; i < tensors; ++i) {
        if (defined[i] != 0) result.is_defined[i] = true;
      }
      for (std::size_t i = 0; i < pieces.size(); ++i) {
        Tensor values;
        if (defined[pieces[i].tensor] != 0) {
          const std::int64_t end = next + pieces[i].range.count();
          values = received[from].slice(next, end);
          next = end;
        }
        sums[i].add(all.nodes[from][node], std::move(values));
      }
    }
  }
  std::int64_t begin = 0;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const std::int64_t end = begin + pieces[i].range.count();
    if (sums[i].total().defined()) result.values.slice(begin, end).copy_from(sums[i].total());
    begin = end;
  }
  return result;
}

void expect_chunk(const char* what, const TensorChunks& chunks, const Communicator& communicator,
                  const Tensor& own) {
  if (chunks.ranks() != communicator.size()) {
    throw OptionError(detail::concat(what, ": expected chunks of ", communicator.size(),
                                     " ranks, got chunks of ", chunks.ranks()));
  }
  const Shape expected{chunks.chunk(communicator.rank()).count()};
  if (own.shape() != expected)
    throw ShapeError(detail::concat(what, ": expected ", expected, ", got ", own.shape()));
  if (own.dtype() != chunks.dtype()) {
    throw DTypeError(detail::concat(what, ": expected ", chunks.dtype(), ", got ", own.dtype()));
  }
  if (own.device() != chunks.device()) {
    throw DeviceError(detail::concat(what, ": expected a tensor on ", chunks.device(),
                                     ", got one on ", own.device()));
  }
}

}  // namespace

TensorChunks::TensorChunks(std::vector<Shape> shapes, DType dtype, int ranks, Device device)
    : shapes_(std::move(shapes)), begins_{0}, dtype_(dtype), ranks_(ranks), device_(device) {
  if (!is_floating(dtype))
    throw DTypeError(detail::concat("TensorChunks: expected f32 or f64, got ", dtype));
  if (ranks < 1)
    throw OptionError(detail::concat("TensorChunks: expected ranks >= 1, got ", ranks));
  for (const Shape& shape : shapes_) begins_.push_back(begins_.back() + shape.numel());
}

TensorChunks::Range TensorChunks::chunk(int rank) const noexcept {
  const std::int64_t blocks = (numel() + block_size - 1) / block_size;
  const auto border = [&](std::int64_t r) {
    return std::min(blocks * r / ranks_ * block_size, numel());
  };
  return {border(rank), border(rank + 1)};
}

std::vector<TensorChunks::Piece> TensorChunks::pieces(int rank) const {
  const Range chunk = this->chunk(rank);
  std::vector<Piece> pieces;
  for (std::size_t i = 0; i < shapes_.size(); ++i) {
    const Range range{std::max(chunk.begin, begins_[i]), std::min(chunk.end, begins_[i + 1])};
    if (range.count() > 0)
      pieces.push_back({i, {range.begin - begins_[i], range.end - begins_[i]}});
  }
  return pieces;
}

std::vector<Tensor> TensorChunks::tensors(const Tensor& array) const {
  std::vector<Tensor> tensors;
  for (std::size_t i = 0; i < shapes_.size(); ++i)
    tensors.push_back(array.slice(begins_[i], begins_[i + 1]).reshape(shapes_[i]));
  return tensors;
}

ChunkSum sum_chunks(Communicator& communicator, const SliceTree& tree, const TensorChunks& chunks,
                    const std::vector<PartialSum>& parts) {
  const int ranks = communicator.size();
  if (chunks.ranks() != ranks) {
    throw OptionError(detail::concat("sum_chunks: expected chunks of ", ranks,
                                     " ranks, got chunks of ", chunks.ranks()));
  }
  std::vector<SliceRange> nodes;
  for (const PartialSum& part : parts) nodes.push_back(part.node);
  const std::vector<SliceRange> expected = tree.nodes(tree.slices_of(communicator.rank(), ranks));
  if (nodes != expected) {
    throw OptionError(detail::concat("sum_chunks: expected partial sums of the slices ",
                                     text_of(expected), ", got ", text_of(nodes)));
  }
  for (const PartialSum& part : parts) expect_gradients(chunks, part);
  const AllParts all = gather_parts(communicator, tree, chunks, parts);

  const std::vector<TensorChunks::Piece> own_pieces = chunks.pieces(communicator.rank());
  const std::size_t tensors = chunks.shapes().size();
  std::vector<Tensor> sent, received;
  for (int rank = 0; rank < ranks; ++rank) {
    sent.push_back(packed(chunks, rank, parts));
    std::int64_t count = 0;
    for (std::size_t node = 0; node < all.nodes[at(rank)].size(); ++node) {
      for (const TensorChunks::Piece& piece : own_pieces) {
        if (all.defined[at(rank)][node * tensors + piece.tensor] != 0) count += piece.range.count();
      }
    }
    received.push_back(rank == communicator.rank()
                           ? sent.back()
                           : Tensor({count}, chunks.dtype(), chunks.device()));
  }
  std::vector<std::span<const std::byte>> to;
  std::vector<std::span<std::byte>> from;
  for (int rank = 0; rank < ranks; ++rank) {
    to.push_back(bytes_of(std::as_const(sent[at(rank)])));
    from.push_back(bytes_of(received[at(rank)]));
  }
  communicator.exchange(to, from, chunks.device());
  return add_in_order(tree, chunks, communicator.rank(), all, received);
}

std::vector<Tensor> gather_chunks(Communicator& communicator, const TensorChunks& chunks,
                                  const Tensor& own) {
  expect_chunk("gather_chunks", chunks, communicator, own);
  Tensor array({chunks.numel()}, chunks.dtype(), chunks.device());
  std::vector<std::span<std::byte>> blocks;
  const std::size_t element = size_bytes(chunks.dtype());
  for (int rank = 0; rank < communicator.size(); ++rank) {
    const TensorChunks::Range chunk = chunks.chunk(rank);
    blocks.push_back(
        bytes_of(array).subspan(at(chunk.begin) * element, at(chunk.count()) * element));
  }
  communicator.all_gather(bytes_of(own), blocks, chunks.device());
  return chunks.tensors(array);
}

std::vector<Tensor> tree_sum(Communicator& communicator, const SliceTree& tree,
                             const TensorChunks& chunks, const std::vector<PartialSum>& parts) {
  const ChunkSum own = sum_chunks(communicator, tree, chunks, parts);
  std::vector<Tensor> sums = gather_chunks(communicator, chunks, own.values);
  for (std::size_t i = 0; i < sums.size(); ++i) {
    if (!own.is_defined[i]) sums[i] = {};
  }
  return sums;
}

double sum_of_squares(Communicator& communicator, const TensorChunks& chunks, const Tensor& own) {
  expect_chunk("sum_of_squares", chunks, communicator, own);
  constexpr std::int64_t block = TensorChunks::block_size;
  const auto blocks_of = [&](int rank) { return (chunks.chunk(rank).count() + block - 1) / block; };
  std::vector<double> sums(at(blocks_of(communicator.rank())));
  with_type(chunks.dtype(), [&]<class T>(T) {
    const Tensor host = own.to(Device::cpu);
    const std::span<const T> values = host.span<T>();
    parallel_tasks(std::ssize(sums), [&](std::int64_t task, int) {
      const std::int64_t end = std::min((task + 1) * block, std::ssize(values));
      double sum = 0;
      for (std::int64_t i = task * block; i < end; ++i) {
        const double value = static_cast<double>(values[at(i)]);
        sum += value * value;
      }
      sums[at(task)] = sum;
    });
  });
  std::vector<std::vector<double>> all;
  std::vector<std::span<std::byte>> places;
  for (int rank = 0; rank < communicator.size(); ++rank) all.emplace_back(at(blocks_of(rank)));
  for (std::vector<double>& rank : all) places.push_back(std::as_writable_bytes(std::span(rank)));
  communicator.all_gather(std::as_bytes(std::span(sums)), places);
  double total = 0;
  for (const std::vector<double>& rank : all) {
    for (const double sum : rank) total += sum;
  }
  return total;
}

}  // namespace refrain
