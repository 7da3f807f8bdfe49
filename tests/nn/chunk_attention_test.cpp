#include <vector>

#include "refrain/autograd/gradcheck.hpp"
#include "refrain/nn/chunk_attention.hpp"
#include "refrain/ops/pointwise.hpp"
#include "refrain/ops/steps.hpp"
#include "support/catch.hpp"
#include "support/goldens.hpp"
#include "support/variables.hpp"

namespace {

using namespace refrain;
using test::leaf;
using test::leaves_of;
using test::weighted;

}  // namespace

TEST_CASE("gradcheck: chunk_attention and its layer", "[ops][grad]") {
  const Variable first = leaf({2, 3}, 1);
  const Variable rest = leaf({4, 2, 3}, 2);
  const Variable query = leaf({2, 5}, 3);
  const Variable weight = leaf({5, 3}, 4);
  const Variable score = leaf({5}, 5);
  CHECK(gradcheck([&] { return weighted(chunk_attention(first, rest, query, weight, score)); },
                  {first, rest, query, weight, score}) == "");
  Random random(1);
  ChunkAttention layer({.hidden = 3, .read = 6, .width = 5, .deviation = 0.7}, random,
                       {.dtype = DType::f64});
  const Variable read = leaf({2, 6}, 6);
  CHECK(gradcheck([&] { return weighted(layer(first, rest, read)); },
                  leaves_of(layer, {first, rest, read})) == "");
}

TEST_CASE("chunk_attention: a single hidden vector is the result, invalid arguments are rejected",
          "[ops][errors]") {
  const Variable first = leaf({2, 3}, 1);
  const Variable query = leaf({2, 5}, 3);
  const Variable weight = leaf({5, 3}, 4);
  const Variable score = leaf({5}, 5);
  CHECK(chunk_attention(first, {}, query, weight, score).is(first));
  CHECK_THROWS_AS(chunk_attention(first, leaf({4, 3, 3}, 2), query, weight, score), ShapeError);
  CHECK_THROWS_AS(chunk_attention(first, leaf({2, 3}, 2), query, weight, score), ShapeError);
  CHECK_THROWS_AS(chunk_attention(first, {}, leaf({2, 4}, 3), weight, score), ShapeError);
  CHECK_THROWS_AS(chunk_attention(first, {}, query, leaf({5, 4}, 4), score), ShapeError);
}

TEST_CASE("golden: chunk attention", "[golden]") {
  test::for_goldens({"chunk_attention_"}, [](const test::Golden& golden) {
    const auto input = [&](const std::string& name) { return Variable(golden[name], true); };
    const Variable chunk = input("input.chunk"), r = input("input.r");
    const Variable weight = input("param.attn_c"), query = input("param.attn_r"),
                   score = input("param.attn_v");
    const Variable steps = swap_batch_time(chunk);
    const Variable a = chunk_attention(one_step(steps, 0), slice_steps(steps, 1, steps.size(0)),
                                       linear(r, query), weight, score);
    golden.check("output.a", a.value());
    const Variable loss = dot(a, Variable(golden["seed.a"]));
    golden.check("loss", loss.value());
    backward(loss);
    for (const auto& [name, variable] : {std::pair<std::string, Variable>{"input.chunk", chunk},
                                         {"input.r", r},
                                         {"param.attn_c", weight},
                                         {"param.attn_r", query},
                                         {"param.attn_v", score}}) {
      // A chunk of one vector has no attention: its parameters get no gradient; the file contains
      // zeros.
      const Tensor gradient = variable.gradient().defined()
                                  ? variable.grad()
                                  : Tensor::zeros(variable.shape(), golden.dtype());
      golden.check("grad." + name, gradient);
    }
  });
}
