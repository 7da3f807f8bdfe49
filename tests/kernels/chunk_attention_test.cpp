/// The chunk attention's kernels against naive loops: every size class, any choice of gradients,
/// saturated attention.

#include <array>
#include <cstdint>
#include <vector>

#include "refrain/kernels/chunk_attention.hpp"
#include "refrain/kernels/run.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/naive_attention.hpp"
#include "support/tensors.hpp"

namespace {

using namespace refrain;
using test::doubles;
using test::garbage;
using test::random_tensor;
using test::naive::chunk_attention;
using test::naive::ChunkAttentionResults;
using test::naive::Values;
namespace tolerance = test::tolerance;

struct AttentionSize {
  std::int64_t length, batch, hidden, width;
};

/// One of each, no sequence, primes, a vector less one, exact and plus one, several tasks, several
/// blocks of weight sums.
const std::vector<AttentionSize>& attention_sizes() {
  static const std::vector<AttentionSize> all{
      {1, 1, 1, 1},  {2, 1, 1, 1},    {3, 0, 4, 2},    {3, 5, 7, 3},  {2, 16, 15, 17},
      {4, 8, 16, 8}, {12, 17, 33, 9}, {1, 33, 31, 16}, {2, 3, 5, 65}, {7, 67, 6, 5}};
  return all;
}

template <class T>
struct AttentionCase {
  AttentionSize size;
  Tensor first, rest, weight, query, score, dout;

  explicit AttentionCase(const AttentionSize& of, double deviation = 0.5)
      : size(of),
        first(random_tensor<T>({of.batch, of.hidden}, 1)),
        rest(of.length > 1 ? random_tensor<T>({of.length - 1, of.batch, of.hidden}, 2) : Tensor()),
        weight(random_tensor<T>({of.width, of.hidden}, 3, deviation)),
        query(random_tensor<T>({of.batch, of.width}, 4)),
        score(random_tensor<T>({of.width}, 5)),
        dout(random_tensor<T>({of.batch, of.hidden}, 6)) {}

  View rest_view() const { return rest.defined() ? rest.view() : View(); }
  /// All hidden vectors, [l,B,H].
  Values chunk() const {
    Values all = doubles(first);
    if (rest.defined()) {
      const Values more = doubles(rest);
      all.insert(all.end(), more.begin(), more.end());
    }
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
                          .weight = doubles(c.weight),
                          .query = doubles(c.query),
                          .score = doubles(c.score),
                          .dout = doubles(c.dout)});
}

struct AttentionResults {
  Tensor out, alpha, tanh;
};

template <class T>
AttentionResults run_forward(const AttentionCase<T>& c, bool saves_alpha, bool saves_tanh) {
  const auto [length, batch, hidden, width] = c.size;
  AttentionResults f{garbage<T>({batch, hidden}), garbage<T>({length, batch}),
                     garbage<T>({length, batch, width})};
  kernels::run<kernels::ChunkAttentionForward>(
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

/// Bits of `choice`: first, rest, weight, query, score.
template <class T>
std::vector<Tensor> run_backward(const AttentionCase<T>& c, const AttentionResults& f,
                                 unsigned choice) {
  const auto [length, batch, hidden, width] = c.size;
  std::vector<Tensor> found;
  for (const Shape& shape : {Shape{batch, hidden}, Shape{length - 1, batch, hidden},
                             Shape{width, hidden}, Shape{batch, width}, Shape{width}}) {
    found.push_back(garbage<T>(shape));
  }
  const auto out = [&](std::size_t i) {
    return (choice >> i & 1) != 0 ? found[i].mutable_view() : MutableView();
  };
  kernels::run<kernels::ChunkAttentionBackward>({.first = c.first.view(),
                                                 .rest = c.rest_view(),
                                                 .weight = c.weight.view(),
                                                 .score = c.score.view(),
                                                 .alpha = f.alpha.view(),
                                                 .tanh = f.tanh.view(),
                                                 .dout = c.dout.view(),
                                                 .dfirst = out(0),
                                                 .drest = c.rest.defined() ? out(1) : MutableView(),
                                                 .dweight = out(2),
                                                 .dquery = out(3),
                                                 .dscore = out(4)});
  return found;
}

}  // namespace

TEMPLATE_TEST_CASE(
    "chunk_attention: kernels are the naive loops, for any choice of gradients and threads",
    "[kernel][grad]", float, double) {
  using T = TestType;
  for (const AttentionSize& size : attention_sizes()) {
    INFO("l " << size.length << " B " << size.batch << " H " << size.hidden << " A " << size.width);
    const AttentionCase<T> c(size);
    const ChunkAttentionResults expected = expected_of(c);
    const std::array<Values, 5> d = expected.gradients();
    for (unsigned saves = 0; saves < 4; ++saves) {
      const AttentionResults f = run_forward(c, (saves & 1) != 0, (saves & 2) != 0);
      test::check_close<T>(f.out, expected.out, tolerance::sum<T>);
      if ((saves & 1) != 0) test::check_close<T>(f.alpha, expected.alpha, tolerance::sum<T>);
      if ((saves & 2) != 0) test::check_close<T>(f.tanh, expected.tanh, tolerance::sum<T>);
    }
    const AttentionResults f = run_forward(c, true, true);
    for (unsigned choice = 0; choice < 32; ++choice) {
      INFO("choice of gradients " << choice);
      const std::vector<Tensor> found = run_backward(c, f, choice);
      for (std::size_t i = 0; i < found.size(); ++i) {
        INFO("gradient " << i);
        const bool wanted = (choice >> i & 1) != 0 && !(i == 1 && size.length == 1);
        if (wanted) test::check_close<T>(found[i], d[i], tolerance::sum<T>);
        if (!wanted) CHECK(test::same_bytes(found[i], garbage<T>(found[i].shape())));
      }
    }
    test::same_for_any_threads([&] {
      const AttentionResults again = run_forward(c, true, true);
      std::vector<Tensor> all = run_backward(c, again, 31);
      all.insert(all.end(), {again.out, again.alpha, again.tanh});
      return all;
    });
  }
}

TEMPLATE_TEST_CASE("chunk_attention: saturated attention stays finite and right", "[kernel][grad]",
                   float, double) {
  using T = TestType;
  AttentionCase<T> c({4, 3, 5, 2});
  // Saturated units of opposite signs and scores whose differences are far past what exp can hold.
  c.weight.fill(0);
  c.weight.template data<T>()[0] = T(1e4);
  c.weight.template data<T>()[c.size.hidden + 1] = T(-1e4);
  c.score.template data<T>()[0] = T(3e4);
  c.score.template data<T>()[1] = T(-2e4);
  const ChunkAttentionResults expected = expected_of(c);
  const std::array<Values, 5> d = expected.gradients();
  const AttentionResults f = run_forward(c, true, true);
  test::check_close<T>(f.out, expected.out, tolerance::sum<T>);
  test::check_close<T>(f.alpha, expected.alpha, tolerance::sum<T>);
  const std::vector<Tensor> found = run_backward(c, f, 31);
  for (std::size_t i = 0; i < found.size(); ++i) {
    INFO("gradient " << i);
    test::check_close<T>(found[i], d[i], tolerance::sum<T>);
  }
}
