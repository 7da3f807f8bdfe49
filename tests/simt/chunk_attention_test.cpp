/// The chunk attention on CUDA, emulated, against loops in double.

#include <array>
#include <cstdint>
#include <vector>

#include "refrain/kernels/chunk_attention.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/guarded_array.hpp"
#include "support/naive_attention.hpp"
#include "support/simt/orders.hpp"
#include "support/simt/run_emulated.hpp"

using namespace refrain;
using namespace refrain::test;
using naive::chunk_attention;
using naive::ChunkAttentionResults;
using naive::Values;
namespace cuda = kernels::cuda;

namespace {

struct AttentionSize {
  std::int64_t length, batch, hidden, width;
  int offset;  ///< elements past a multiple of 16 bytes where inputs start
};

/// One of each, no sequence, primes, more steps than a block's rows, one and several sequences a
/// block, units and columns past a tile's, columns past a block's threads, several chunks of weight
/// sums.
const AttentionSize attention_sizes[] = {
    {1, 1, 1, 1, 0},   {2, 1, 1, 1, 0},   {3, 0, 4, 2, 0},  {3, 5, 7, 3, 1},   {2, 16, 15, 17, 0},
    {12, 3, 33, 9, 0}, {1, 9, 31, 16, 0}, {2, 3, 5, 65, 1}, {2, 2, 260, 3, 0}, {3, 67, 6, 5, 0}};
/// As many rows as make tall tiles.
const AttentionSize tall{40, 103, 3, 2, 0};

template <class T>
struct AttentionCase {
  AttentionSize size;
  DeviceArray<T> first, rest, weight, query, score, dout;

  explicit AttentionCase(const AttentionSize& of)
      : size(of),
        first(random_array<T>({of.batch, of.hidden}, 1, 1, of.offset)),
        rest(random_array<T>({of.length - 1, of.batch, of.hidden}, 2, 1, of.offset)),
        weight(random_array<T>({of.width, of.hidden}, 3, 0.5, of.offset)),
        query(random_array<T>({of.batch, of.width}, 4)),
        score(random_array<T>({of.width}, 5)),
        dout(random_array<T>({of.batch, of.hidden}, 6)) {}

  View rest_view() const { return size.length > 1 ? rest.view() : View(); }
  /// All hidden vectors, [l,B,H].
  Values chunk() const {
    Values all = first.doubles();
    const Values more = rest.doubles();
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
};

template <class T>
ChunkAttentionResults expected_of(const AttentionCase<T>& c) {
  return chunk_attention({.length = c.size.length,
                          .batch = c.size.batch,
                          .hidden = c.size.hidden,
                          .width = c.size.width,
                          .chunk = c.chunk(),
                          .weight = c.weight.doubles(),
                          .query = c.query.doubles(),
                          .score = c.score.doubles(),
                          .dout = c.dout.doubles()});
}

template <class T>
struct AttentionResults {
  DeviceArray<T> out, alpha, tanh;
};

template <class T>
AttentionResults<T> empty_results(const AttentionSize& s) {
  return {DeviceArray<T>({s.batch, s.hidden}), DeviceArray<T>({s.length, s.batch}),
          DeviceArray<T>({s.length, s.batch, s.width})};
}

/// Gradients of first, rest, weight, query, score.
template <class T>
std::vector<DeviceArray<T>> empty_gradients(const AttentionSize& s) {
  std::vector<DeviceArray<T>> out;
  for (const Shape& shape : {Shape{s.batch, s.hidden}, Shape{s.length - 1, s.batch, s.hidden},
                             Shape{s.width, s.hidden}, Shape{s.batch, s.width}, Shape{s.width}}) {
    out.emplace_back(shape);
  }
  return out;
}

template <class T>
AttentionResults<T> run_forward(const AttentionCase<T>& c, bool saves_alpha, bool saves_tanh) {
  AttentionResults<T> f = empty_results<T>(c.size);
  run_emulated<kernels::ChunkAttentionForward>(
      {.first = c.first.view(),
       .rest = c.rest_view(),
       .weight = c.weight.view(),
       .query = c.query.view(),
       .score = c.score.view(),
       .out = f.out.mutable_view(),
       .alpha = saves_alpha ? f.alpha.mutable_view() : MutableView(),
       .tanh = saves_tanh ? f.tanh.mutable_view() : MutableView()});
  return f;
}

/// Bits of `choice`: which gradients are wanted, in the order of empty_gradients.
template <class T>
std::vector<DeviceArray<T>> run_backward(const AttentionCase<T>& c, const AttentionResults<T>& f,
                                         unsigned choice) {
  std::vector<DeviceArray<T>> found = empty_gradients<T>(c.size);
  const auto out = [&](std::size_t i) {
    return (choice >> i & 1) != 0 ? found[i].mutable_view() : MutableView();
  };
  run_emulated(kernels::ChunkAttentionBackward{.first = c.first.view(),
                                               .rest = c.rest_view(),
                                               .weight = c.weight.view(),
                                               .score = c.score.view(),
                                               .alpha = f.alpha.view(),
                                               .tanh = f.tanh.view(),
                                               .dout = c.dout.view(),
                                               .dfirst = out(0),
                                               .drest = c.size.length > 1 ? out(1) : MutableView(),
                                               .dweight = out(2),
                                               .dquery = out(3),
                                               .dscore = out(4)});
  return found;
}

template <class T>
void check_forward(const AttentionResults<T>& f, const ChunkAttentionResults& expected) {
  check_close<T>(f.out.span(), expected.out, tolerance::sum<T>);
  check_close<T>(f.alpha.span(), expected.alpha, tolerance::sum<T>);
  check_close<T>(f.tanh.span(), expected.tanh, tolerance::sum<T>);
}

}  // namespace

TEMPLATE_TEST_CASE(
    "cuda chunk_attention: forward and backward are the naive loops, the same bits in every order",
    "[simt][memory]", float, double) {
  using T = TestType;
  for (const AttentionSize& size : attention_sizes) {
    INFO("l " << size.length << " B " << size.batch << " H " << size.hidden << " A " << size.width);
    const AttentionCase<T> c(size);
    const ChunkAttentionResults expected = expected_of(c);
    const std::array<Values, 5> d = expected.gradients();
    std::vector<DeviceArray<T>> first;
    for_each_order([&] {
      const AttentionResults<T> f = run_forward(c, true, true);
      check_forward(f, expected);
      std::vector<DeviceArray<T>> found = run_backward(c, f, 31);
      for (std::size_t i = 0; i < found.size(); ++i) {
        INFO("gradient " << i);
        check_close<T>(found[i].span(), d[i], tolerance::sum<T>);
        if (!first.empty()) CHECK(same_bytes(found[i], first[i]));
      }
      if (first.empty()) first = std::move(found);
    });
  }
}

TEMPLATE_TEST_CASE("cuda chunk_attention: any choice of saved values and gradients",
                   "[simt][memory]", float, double) {
  using T = TestType;
  const AttentionSize size{3, 5, 7, 3, 0};
  const AttentionCase<T> c(size);
  const AttentionResults<T> all = run_forward(c, true, true);
  const AttentionResults<T> unwritten = empty_results<T>(size);
  for (unsigned saves = 0; saves < 4; ++saves) {
    const AttentionResults<T> f = run_forward(c, (saves & 1) != 0, (saves & 2) != 0);
    CHECK(same_bytes(f.out, all.out));
    CHECK(same_bytes(f.alpha, (saves & 1) != 0 ? all.alpha : unwritten.alpha));
    CHECK(same_bytes(f.tanh, (saves & 2) != 0 ? all.tanh : unwritten.tanh));
  }
  const std::vector<DeviceArray<T>> expected = run_backward(c, all, 31);
  const std::vector<DeviceArray<T>> untouched = empty_gradients<T>(size);
  for (unsigned choice = 0; choice < 32; ++choice) {
    INFO("choice of gradients " << choice);
    const std::vector<DeviceArray<T>> found = run_backward(c, all, choice);
    for (std::size_t i = 0; i < found.size(); ++i) {
      INFO("gradient " << i);
      CHECK(same_bytes(found[i], (choice >> i & 1) != 0 ? expected[i] : untouched[i]));
    }
  }
}

TEST_CASE("cuda chunk_attention: many rows", "[simt][memory]") {
  const AttentionCase<float> c(tall);
  const ChunkAttentionResults expected = expected_of(c);
  const std::array<Values, 5> d = expected.gradients();
  const AttentionResults<float> f = run_forward(c, true, true);
  check_forward(f, expected);
  const std::vector<DeviceArray<float>> found = run_backward(c, f, 31);
  for (std::size_t i = 0; i < found.size(); ++i) {
    INFO("gradient " << i);
    check_close<float>(found[i].span(), d[i], tolerance::sum<float>);
  }
}

TEMPLATE_TEST_CASE("cuda chunk_attention: saturated attention stays finite and right",
                   "[simt][memory]", float, double) {
  using T = TestType;
  AttentionCase<T> c({4, 3, 5, 2, 0});
  // Saturated units of opposite signs and scores whose differences are far past what exp can hold.
  std::fill_n(c.weight.data(), 10, T{0});
  c.weight.data()[0] = T(1e4);
  c.weight.data()[6] = T(-1e4);
  c.score.data()[0] = T(3e4);
  c.score.data()[1] = T(-2e4);
  const ChunkAttentionResults expected = expected_of(c);
  const std::array<Values, 5> d = expected.gradients();
  const AttentionResults<T> f = run_forward(c, true, true);
  check_forward(f, expected);
  const std::vector<DeviceArray<T>> found = run_backward(c, f, 31);
  for (std::size_t i = 0; i < found.size(); ++i) {
    INFO("gradient " << i);
    check_close<T>(found[i].span(), d[i], tolerance::sum<T>);
  }
}

TEST_CASE("cuda chunk_attention: the forward pass is one launch", "[simt][memory]") {
  const AttentionCase<float> c({3, 5, 40, 33, 0});
  const std::int64_t start = simt::emulation::launches();
  const AttentionResults<float> f = run_forward(c, true, true);
  CHECK(simt::emulation::launches() == start + 1);
  run_backward(c, f, 0b01011);  // those of the hidden vectors and of the query
  CHECK(simt::emulation::launches() == start + 2);
}

TEST_CASE("cuda chunk_attention: refuses a chunk whose scores pass the shared memory",
          "[simt][memory]") {
  const AttentionCase<float> c({50000, 1, 1, 1, 0});
  CHECK_THROWS_AS(run_forward(c, false, false), Unsupported);
}
