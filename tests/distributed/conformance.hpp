#pragma once
/// What every communicator must do, whatever its transport. All ranks call the same functions,
/// which throw std::runtime_error when a result is wrong.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "refrain/distributed/agreement.hpp"
#include "refrain/distributed/tree_sum.hpp"
#include "refrain/train/sharded_items.hpp"

namespace refrain::test::conformance {

inline std::size_t at(std::int64_t index) { return static_cast<std::size_t>(index); }

inline void expect(bool is_true, const Communicator& communicator, const std::string& what) {
  if (!is_true) throw std::runtime_error(communicator.text() + ": wrong: " + what);
}

// ---- collectives ----

/// Bytes that depend on sender, receiver and place.
inline std::vector<std::byte> pattern(int from, int to, std::size_t size) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i)
    bytes[i] = static_cast<std::byte>((at(from) * 37 + at(to) * 11 + i * 5 + i / 256) & 255);
  return bytes;
}

/// Sizes of messages: some empty, some larger than the limit of eager protocols.
inline std::size_t message_size(int from, int to) {
  return (at(from) * 3 + at(to)) % 4 == 0 ? 0 : (at(from) + 1) * 70001 + at(to) * 13;
}

inline void broadcasts(Communicator& communicator) {
  for (int root = 0; root < communicator.size(); ++root) {
    const std::vector<std::byte> expected = pattern(root, 0, 100000 + at(root));
    std::vector<std::byte> bytes(expected.size());
    if (communicator.rank() == root) bytes = expected;
    communicator.broadcast(bytes, root);
    expect(bytes == expected, communicator, "broadcast from " + std::to_string(root));
  }
}

inline void all_gathers(Communicator& communicator) {
  for (const std::size_t factor : {std::size_t{0}, std::size_t{1}, std::size_t{50000}}) {
    const auto size = [&](int rank) { return at(rank % 3) * factor; };
    std::vector<std::vector<std::byte>> all;
    for (int rank = 0; rank < communicator.size(); ++rank) all.emplace_back(size(rank));
    const std::vector<std::span<std::byte>> blocks(all.begin(), all.end());
    communicator.all_gather(pattern(communicator.rank(), 0, size(communicator.rank())), blocks);
    for (int rank = 0; rank < communicator.size(); ++rank)
      expect(all[at(rank)] == pattern(rank, 0, size(rank)), communicator, "all_gather");
  }
}

inline void exchanges(Communicator& communicator) {
  const int self = communicator.rank();
  std::vector<std::vector<std::byte>> sent, received;
  for (int rank = 0; rank < communicator.size(); ++rank) {
    sent.push_back(pattern(self, rank, message_size(self, rank)));
    received.emplace_back(message_size(rank, self));
  }
  const std::vector<std::span<const std::byte>> to(sent.begin(), sent.end());
  const std::vector<std::span<std::byte>> from(received.begin(), received.end());
  communicator.exchange(to, from);
  for (int rank = 0; rank < communicator.size(); ++rank) {
    expect(received[at(rank)] == pattern(rank, self, message_size(rank, self)), communicator,
           "exchange with " + std::to_string(rank));
  }
}

inline void counts_bytes(Communicator& communicator) {
  const std::int64_t others = communicator.size() - 1;
  const CommunicationCounts before = communicator.counts();
  std::vector<std::byte> bytes(10);
  communicator.broadcast(bytes, 0);
  const std::vector<std::byte> own(at(communicator.rank() + 1));
  std::vector<std::vector<std::byte>> all;
  std::int64_t total = 0;
  for (std::int64_t rank = 0; rank <= others; ++rank) {
    all.emplace_back(at(rank + 1));
    total += rank + 1;
  }
  communicator.all_gather(own, std::vector<std::span<std::byte>>(all.begin(), all.end()));
  const CommunicationCounts& after = communicator.counts();
  const bool is_root = communicator.rank() == 0;
  expect(after.calls - before.calls == 2, communicator, "count of calls");
  expect(after.bytes_sent - before.bytes_sent ==
             (is_root ? 10 * others : 0) + std::ssize(own) * others,
         communicator, "count of bytes sent");
  expect(
      after.bytes_received - before.bytes_received == (is_root ? 0 : 10) + total - std::ssize(own),
      communicator, "count of bytes received");
}

/// Many small calls, in which the same tags and buffers come again.
inline void many_calls(Communicator& communicator) {
  for (std::uint64_t i = 0; i < 300; ++i) {
    const std::uint64_t own = i * 1000 + at(communicator.rank());
    const std::vector<std::uint64_t> all =
        gather_values(communicator, std::span<const std::uint64_t>(&own, 1));
    for (std::size_t rank = 0; rank < all.size(); ++rank)
      expect(all[rank] == i * 1000 + rank, communicator, "call " + std::to_string(i));
  }
}

// ---- agreement ----

inline void agrees(Communicator& communicator) {
  const std::uint64_t own = std::uint64_t{1} << communicator.rank();
  expect(any_bits(communicator, own) == (std::uint64_t{1} << communicator.size()) - 1, communicator,
         "any_bits");
  expect(any_bits(communicator, 0) == 0, communicator, "any_bits without requests");
}

inline void gathers_rows(Communicator& communicator) {
  const auto rows_of = [](int rank) { return std::int64_t{rank * 2 % 5}; };
  const auto value = [](int rank, std::int64_t row) {
    return static_cast<float>(100 * rank + row);
  };
  const std::int64_t own = rows_of(communicator.rank());
  Tensor ids({own}, DType::i32), values({own, 3}, DType::f32);
  for (std::int64_t row = 0; row < own; ++row) {
    ids.data<std::int32_t>()[row] = static_cast<std::int32_t>(7 * row + communicator.rank());
    std::fill_n(values.data<float>() + 3 * row, 3, value(communicator.rank(), row));
  }
  const GatheredRows all = gather_rows(communicator, ids, values);
  std::int64_t next = 0;
  for (int rank = 0; rank < communicator.size(); ++rank) {
    for (std::int64_t row = 0; row < rows_of(rank); ++row, ++next) {
      expect(all.ids.data<std::int32_t>()[next] == 7 * row + rank, communicator, "id of a row");
      for (int i = 0; i < 3; ++i)
        expect(all.values.data<float>()[3 * next + i] == value(rank, row), communicator, "a row");
    }
  }
  expect(all.ids.numel() == next && all.values.shape() == Shape{next, 3}, communicator,
         "number of rows");
}

inline void shakes_hands(Communicator& communicator) {
  Identity identity = build_identity();
  handshake(communicator, identity);
  if (communicator.size() == 1) return;
  identity.emplace_back("data hash", communicator.rank() == 1 ? "17" : "42");
  std::string message;
  try {
    handshake(communicator, identity);
  } catch (const CommunicationError& error) {
    message = error.what();
  }
  const std::string expected =
      "data hash: " + communicator.text(1) + " has 17, " + communicator.text(0) + " has 42";
  expect(message.find(expected) != std::string::npos, communicator, "handshake: " + message);
}

// ---- sums in the order of the tree ----

inline const std::vector<Shape>& gradient_shapes() {
  static const std::vector<Shape> shapes{{3000}, {5, 700}, {1}, {2, 3}, {0}, {9000}};
  return shapes;
}

/// The gradient of a tensor in a slice, of numbers whose sum depends on the order; undefined in
/// some slices, and tensor 3 in all.
template <class T>
Tensor gradient(std::int64_t slice, std::size_t tensor, bool is_dense) {
  const bool is_absent = tensor == 3 || slice == 6 || (at(slice) * 7 + tensor * 3) % 5 == 0;
  if (!is_dense && is_absent) return {};
  Tensor values(gradient_shapes()[tensor], dtype_of<T>);
  std::uint64_t state = at(slice) * 100 + tensor;
  const T scale = (slice % 3 == 0 ? T{1} : T{50}) / T{3};
  for (T& value : values.span<T>()) {
    state = state * 6364136223846793005 + 1442695040888963407;  // linear congruences (Knuth)
    value = scale * static_cast<T>(static_cast<std::int32_t>(state >> 32));
  }
  return values;
}

/// The sum of two gradients in new storage.
template <class T>
Tensor added(const Tensor& left, const Tensor& right) {
  if (!left.defined() || !right.defined()) return left.defined() ? left : right;
  Tensor sum = left.clone();
  for (std::int64_t i = 0; i < sum.numel(); ++i) sum.data<T>()[i] += right.data<T>()[i];
  return sum;
}

/// The sum over slices [begin, end) by the recursive definition of the tree; a node has `width`
/// slices when the batch has enough.
template <class T>
Tensor naive_tree(std::int64_t begin, std::int64_t end, std::int64_t width, std::size_t tensor,
                  bool is_dense) {
  if (begin >= end) return {};
  if (width == 1) return gradient<T>(begin, tensor, is_dense);
  const std::int64_t middle = std::min(begin + width / 2, end);
  return added<T>(naive_tree<T>(begin, middle, width / 2, tensor, is_dense),
                  naive_tree<T>(middle, end, width / 2, tensor, is_dense));
}

/// The sum over slices [begin, end) from left to right.
template <class T>
Tensor sum_in_sequence(std::int64_t begin, std::int64_t end, std::size_t tensor, bool is_dense) {
  Tensor sum;
  for (std::int64_t slice = begin; slice < end; ++slice)
    sum = added<T>(sum, gradient<T>(slice, tensor, is_dense));
  return sum;
}

inline bool same_bits(const Tensor& a, const Tensor& b) {
  if (!a.defined() || !b.defined()) return a.defined() == b.defined();
  return a.shape() == b.shape() && a.dtype() == b.dtype() &&
         (a.bytes() == 0 || std::memcmp(a.raw(), b.raw(), a.bytes()) == 0);
}

/// What a rank of a job does with its slices.
enum class Order { tree, sequence };

/// The partial sums of a rank; with Order::sequence a defective rank, which adds its slices from
/// left to right.
template <class T>
std::vector<PartialSum> partial_sums(const SliceTree& tree, SliceRange slices, bool is_dense,
                                     Order order = Order::tree) {
  std::vector<PartialSum> parts;
  for (const SliceRange& node : tree.nodes(slices)) {
    PartialSum part{.node = node, .gradients = {}};
    std::int64_t width = 1;
    while (width < node.end - node.begin) width *= 2;
    for (std::size_t i = 0; i < gradient_shapes().size(); ++i) {
      part.gradients.push_back(order == Order::tree
                                   ? naive_tree<T>(node.begin, node.end, width, i, is_dense)
                                   : sum_in_sequence<T>(node.begin, node.end, i, is_dense));
    }
    const bool is_empty =
        std::ranges::none_of(part.gradients, [](const Tensor& t) { return t.defined(); });
    if (is_empty) part.gradients.clear();
    parts.push_back(std::move(part));
  }
  return parts;
}

/// Bytes that a rank sends in tree_sum(), from the definition of chunks and messages.
template <class T>
std::int64_t bytes_of_tree_sum(const Communicator& communicator,
                               const std::vector<PartialSum>& parts) {
  const std::int64_t ranks = communicator.size(), rank = communicator.rank();
  std::int64_t total = 0;
  for (const Shape& shape : gradient_shapes()) total += shape.numel();
  const std::int64_t blocks = (total + 4095) / 4096;
  const std::int64_t begin = std::min(blocks * rank / ranks * 4096, total);
  const std::int64_t end = std::min(blocks * (rank + 1) / ranks * 4096, total);
  std::int64_t elements = (end - begin) * (ranks - 1);
  for (const PartialSum& part : parts) {
    std::int64_t first = 0;
    for (std::size_t i = 0; i < part.gradients.size(); ++i) {
      const std::int64_t last = first + gradient_shapes()[i].numel();
      const std::int64_t own =
          std::max<std::int64_t>(std::min(last, end) - std::max(first, begin), 0);
      if (part.gradients[i].defined()) elements += last - first - own;
      first = last;
    }
  }
  return elements * std::int64_t{sizeof(T)} +
         std::ssize(parts) * std::ssize(gradient_shapes()) * (ranks - 1);
}

/// tree_sum() of `slices` slices against the naive tree, with the bytes that it sends.
template <class T>
void sums_in_tree_order(Communicator& communicator, std::int64_t slices, bool is_dense,
                        Order order = Order::tree) {
  const SliceTree tree(slices);
  const TensorChunks chunks(gradient_shapes(), dtype_of<T>, communicator.size());
  const std::vector<PartialSum> parts = partial_sums<T>(
      tree, tree.slices_of(communicator.rank(), communicator.size()), is_dense, order);
  const std::int64_t before = communicator.counts().bytes_sent;
  const std::vector<Tensor> sums = tree_sum(communicator, tree, chunks, parts);
  const std::string text = "tree sum of " + std::to_string(slices) + " slices";
  expect(communicator.counts().bytes_sent - before == bytes_of_tree_sum<T>(communicator, parts),
         communicator, "bytes of the " + text);
  std::int64_t width = 1;
  while (width < slices) width *= 2;
  bool depends_on_order = false;
  for (std::size_t i = 0; i < sums.size(); ++i) {
    expect(same_bits(sums[i], naive_tree<T>(0, slices, width, i, is_dense)), communicator, text);
    const Tensor in_sequence = sum_in_sequence<T>(0, slices, i, is_dense);
    depends_on_order = depends_on_order || !same_bits(sums[i], in_sequence);
  }
  expect(depends_on_order || slices < 4, communicator, text + " must depend on the order");
}

inline void tree_sums(Communicator& communicator) {
  for (const std::int64_t slices : {1, 3, 5, 16}) {
    sums_in_tree_order<float>(communicator, slices, true);
    sums_in_tree_order<float>(communicator, slices, false);
  }
  sums_in_tree_order<double>(communicator, 13, false);
}

/// Squares of the sum of 11 slices against one loop over blocks of 4,096 elements.
inline void sums_squares(Communicator& communicator) {
  const SliceTree tree(11);
  const TensorChunks chunks(gradient_shapes(), DType::f32, communicator.size());
  const ChunkSum own = sum_chunks(
      communicator, tree, chunks,
      partial_sums<float>(tree, tree.slices_of(communicator.rank(), communicator.size()), false));
  const double got = sum_of_squares(communicator, chunks, own.values);
  double expected = 0, block = 0;
  std::int64_t count = 0;
  for (std::size_t i = 0; i < gradient_shapes().size(); ++i) {
    Tensor sum = naive_tree<float>(0, 11, 16, i, false);
    if (!sum.defined()) sum = Tensor::zeros(gradient_shapes()[i], DType::f32);
    for (const float value : std::as_const(sum).span<float>()) {
      block += static_cast<double>(value) * static_cast<double>(value);
      if (++count % 4096 != 0) continue;
      expected += block;
      block = 0;
    }
  }
  expected += block;
  expect(got == expected && got > 0, communicator, "sum of squares");
}

// ---- sharded item tables ----

/// Two steps on six slices end with the bits of one rank.
inline void trains_sharded_items(Communicator& communicator) {
  const auto trained = [](Communicator& ranks) {
    Random random(1);
    ShardedItems items(ranks, {.count = 9000, .width = 5, .deviation = 0.5}, random);
    const SliceRange own = SliceTree(6).slices_of(ranks.rank(), ranks.size());
    for (int step = 0; step < 2; ++step) {
      std::vector<Tensor> ids;
      for (std::int64_t slice = own.begin; slice < own.end; ++slice) {
        const auto first = static_cast<std::int32_t>(997 * slice + step);
        ids.push_back(Tensor::from<std::int32_t>({3}, {first, first + 64, 8999 - first}));
      }
      backward(softmax_loss(items.look_up(ids), items, ids));
      items.step();
    }
    return items.gather_weight();
  };
  const std::unique_ptr<Communicator> one = alone();
  expect(same_bits(trained(communicator), trained(*one)), communicator, "a sharded item table");
}

/// All of the above.
inline const std::vector<std::pair<const char*, std::function<void(Communicator&)>>>& cases() {
  static const std::vector<std::pair<const char*, std::function<void(Communicator&)>>> all{
      {"broadcast", broadcasts},
      {"all_gather", all_gathers},
      {"exchange", exchanges},
      {"counts", counts_bytes},
      {"many calls", many_calls},
      {"agreement", agrees},
      {"rows", gathers_rows},
      {"handshake", shakes_hands},
      {"tree sums", tree_sums},
      {"sum of squares", sums_squares},
      {"sharded items", trains_sharded_items},
  };
  return all;
}

}  // namespace refrain::test::conformance
