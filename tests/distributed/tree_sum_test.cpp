/// Sums over ranks in the order of the tree.

#include <mutex>
#include <string>
#include <vector>

#include "distributed/conformance.hpp"
#include "refrain/distributed/local_group.hpp"
#include "support/catch.hpp"

using namespace refrain;
using namespace refrain::test;

TEST_CASE("tree sum: the same bits as a naive tree for any number of ranks",
          "[distributed][determinism]") {
  for (const int ranks : {1, 2, 3, 5, 8}) {
    for (std::int64_t slices = 1; slices <= 16; ++slices) {
      INFO(slices << " slices, " << ranks << " ranks");
      CHECK_NOTHROW(LocalGroup(ranks).run([&](Communicator& communicator) {
        conformance::sums_in_tree_order<float>(communicator, slices, false);
      }));
    }
  }
}

TEST_CASE("tree sum: a rank that adds in another order is detected", "[distributed]") {
  CHECK_THROWS_MATCHES(LocalGroup(2).run([](Communicator& communicator) {
    conformance::sums_in_tree_order<float>(
        communicator, 16, true,
        communicator.rank() == 1 ? conformance::Order::sequence : conformance::Order::tree);
  }),
                       std::runtime_error, message_contains("wrong: tree sum of 16 slices"));
}

TEST_CASE("tree sum: the bytes sent are the optimum when ranks own whole nodes", "[distributed]") {
  constexpr std::int64_t n = 64 * 4096, element = 4;
  const TensorChunks whole({{n}}, DType::f32, 1);
  for (const int ranks : {2, 4, 8}) {
    std::int64_t sent = 0;
    std::mutex mutex;
    LocalGroup(ranks).run([&](Communicator& communicator) {
      const SliceTree tree(16);
      const SliceRange own = tree.slices_of(communicator.rank(), ranks);
      const std::vector<PartialSum> parts{
          {.node = own, .gradients = {Tensor::full({n}, 1, DType::f32)}}};
      tree_sum(communicator, tree, TensorChunks({{n}}, DType::f32, ranks), parts);
      const std::lock_guard lock(mutex);
      sent += communicator.counts().bytes_sent;
    });
    CHECK(sent == 2 * (ranks - 1) * n * element + ranks * (ranks - 1));
  }
}

TEST_CASE("tree sum: chunks cover all elements at borders of blocks", "[distributed]") {
  for (const std::int64_t count : {0, 1, 4096, 4097, 100000}) {
    for (const int ranks : {1, 2, 3, 7}) {
      const TensorChunks chunks({{count}, {2, 3}}, DType::f64, ranks);
      std::int64_t next = 0, in_pieces = 0;
      for (int rank = 0; rank < ranks; ++rank) {
        const TensorChunks::Range chunk = chunks.chunk(rank);
        CHECK(chunk.begin == next);
        CHECK((chunk.end % TensorChunks::block_size == 0 || chunk.end == chunks.numel()));
        for (const TensorChunks::Piece& piece : chunks.pieces(rank))
          in_pieces += piece.range.count();
        next = chunk.end;
      }
      CHECK(next == count + 6);
      CHECK(in_pieces == count + 6);
    }
  }
}

TEST_CASE("tree sum: arguments are checked", "[distributed]") {
  const std::unique_ptr<Communicator> communicator = alone();
  const SliceTree tree(4);
  const TensorChunks chunks({{3}}, DType::f32, 1);
  const auto sum_of = [&](SliceRange node, std::vector<Tensor> gradients) {
    const std::vector<PartialSum> parts{{.node = node, .gradients = std::move(gradients)}};
    return tree_sum(*communicator, tree, chunks, parts);
  };
  CHECK_FALSE(sum_of({0, 4}, {}).front().defined());
  CHECK_THROWS_MATCHES(sum_of({0, 3}, {}), OptionError,
                       message_contains("expected partial sums of the slices [0, 4), got [0, 3)"));
  CHECK_THROWS_MATCHES(sum_of({0, 4}, {{}, {}}), OptionError,
                       message_contains("expected 1 gradients, one for each tensor, got 2"));
  CHECK_THROWS_MATCHES(sum_of({0, 4}, {Tensor::zeros({2}, DType::f32)}), ShapeError,
                       message_contains("gradient 0: expected [3], got [2]"));
  CHECK_THROWS_MATCHES(sum_of({0, 4}, {Tensor::zeros({3}, DType::f64)}), DTypeError,
                       message_contains("gradient 0: expected f32, got f64"));
  CHECK_THROWS_MATCHES(gather_chunks(*communicator, chunks, Tensor::zeros({4}, DType::f32)),
                       ShapeError, message_contains("expected [3], got [4]"));
  CHECK_THROWS_MATCHES(sum_of_squares(*communicator, chunks, Tensor::zeros({3}, DType::f64)),
                       DTypeError, message_contains("expected f32, got f64"));
  CHECK_THROWS_MATCHES(sum_chunks(*communicator, tree, TensorChunks({{3}}, DType::f32, 2), {}),
                       OptionError, message_contains("expected chunks of 1 ranks"));
  CHECK_THROWS_AS(TensorChunks({{3}}, DType::i32, 1), DTypeError);
  CHECK_THROWS_AS(TensorChunks({{3}}, DType::f32, 0), OptionError);
}
