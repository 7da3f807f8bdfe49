#include <array>
#include <cmath>
#include <vector>

#include "refrain/autograd/gradcheck.hpp"
#include "refrain/nn/chunk_attention.hpp"
#include "refrain/ops/pointwise.hpp"
#include "refrain/ops/steps.hpp"
#include "support/catch.hpp"
#include "support/goldens.hpp"
#include "support/tensors.hpp"

namespace {

using namespace refrain;
using test::doubles;
using test::random_tensor;

Variable leaf(const Shape& shape, std::uint64_t seed) { return Variable(random_tensor<double>(shape, seed), true); }
Variable weighted(const Variable& y) { return dot(y, Variable(random_tensor<double>(y.shape(), 99))); }

}  // namespace

TEMPLATE_TEST_CASE("chunk_attention: against naive loops", "[kernel]", float, double) {
  using T = TestType;
  for (const auto& [length, batch, hidden, width] :
       {std::array<std::int64_t, 4>{2, 1, 1, 1}, {3, 5, 7, 3}, {12, 17, 33, 16}, {2, 16, 32, 65}, {7, 33, 16, 5}}) {
    INFO(length << " x " << batch << " x " << hidden << ", width " << width);
    const Tensor first = random_tensor<T>({batch, hidden}, 1);
    const Tensor rest = random_tensor<T>({length - 1, batch, hidden}, 2);
    const Tensor query = random_tensor<T>({batch, width}, 3);
    const Tensor weight = random_tensor<T>({width, hidden}, 4, 0.5);
    const Tensor score = random_tensor<T>({width}, 5);
    const std::vector<Tensor> results = test::same_for_any_threads([&] {
      std::vector<Variable> leaves{Variable(first, true), Variable(rest, true), Variable(query, true), Variable(weight, true),
                                   Variable(score, true)};
      std::vector<Tensor> found;
      {
        const NoGrad off;
        found.push_back(chunk_attention(leaves[0], leaves[1], leaves[2], leaves[3], leaves[4]).value());
      }
      const Variable y = chunk_attention(leaves[0], leaves[1], leaves[2], leaves[3], leaves[4]);
      found.push_back(y.value());
      backward(y, random_tensor<T>(y.shape(), 6));
      for (const Variable& variable : leaves) found.push_back(variable.grad().clone());
      return found;
    });
    CHECK(test::same_bytes(results[0], results[1]));
    const std::vector<double> q = doubles(query), w = doubles(weight), v = doubles(score), got = doubles(results[0]);
    std::vector<double> c = doubles(first);
    const std::vector<double> more = doubles(rest);
    c.insert(c.end(), more.begin(), more.end());
    double worst = 0;
    for (std::int64_t b = 0; b < batch; ++b) {
      std::vector<double> z;
      double total = 0;
      for (std::int64_t j = 0; j < length; ++j) {
        double sum = 0;
        for (std::int64_t a = 0; a < width; ++a) {
          double s = q[static_cast<std::size_t>(b * width + a)];
          for (std::int64_t i = 0; i < hidden; ++i) {
            s += w[static_cast<std::size_t>(a * hidden + i)] * c[static_cast<std::size_t>((j * batch + b) * hidden + i)];
          }
          sum += v[static_cast<std::size_t>(a)] * std::tanh(s);
        }
        z.push_back(std::exp(sum));
        total += z.back();
      }
      for (std::int64_t i = 0; i < hidden; ++i) {
        double out = 0;
        for (std::int64_t j = 0; j < length; ++j) {
          out += z[static_cast<std::size_t>(j)] / total * c[static_cast<std::size_t>((j * batch + b) * hidden + i)];
        }
        worst = std::max(worst, std::abs(out - got[static_cast<std::size_t>(b * hidden + i)]));
      }
    }
    CHECK(worst <= (sizeof(T) == 4 ? 3e-5 : 1e-12));
  }
}

TEST_CASE("gradcheck: chunk_attention and its layer", "[ops][grad]") {
  const Variable first = leaf({2, 3}, 1);
  const Variable rest = leaf({4, 2, 3}, 2);
  const Variable query = leaf({2, 5}, 3);
  const Variable weight = leaf({5, 3}, 4);
  const Variable score = leaf({5}, 5);
  CHECK(gradcheck([&] { return weighted(chunk_attention(first, rest, query, weight, score)); },
                  {first, rest, query, weight, score}) == "");
  Random random(1);
  ChunkAttention layer({.hidden = 3, .read = 6, .width = 5, .deviation = 0.7}, random, {.dtype = DType::f64});
  const Variable read = leaf({2, 6}, 6);
  std::vector<Variable> leaves{first, rest, read};
  for (const NamedParameter& named : layer.parameters()) leaves.push_back(*named.parameter);
  CHECK(gradcheck([&] { return weighted(layer(first, rest, read)); }, leaves) == "");
}

TEST_CASE("chunk_attention: one hidden vector is taken as it is, mistakes are named", "[ops][errors]") {
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
    const Variable weight = input("param.attn_c"), query = input("param.attn_r"), score = input("param.attn_v");
    const Variable steps = swap_batch_time(chunk);
    const Variable a =
        chunk_attention(one_step(steps, 0), slice_steps(steps, 1, steps.size(0)), linear(r, query), weight, score);
    golden.check("output.a", a.value());
    const Variable loss = dot(a, Variable(golden["seed.a"]));
    golden.check("loss", loss.value());
    backward(loss);
    for (const auto& [name, variable] : {std::pair<std::string, Variable>{"input.chunk", chunk},
                                         {"input.r", r},
                                         {"param.attn_c", weight},
                                         {"param.attn_r", query},
                                         {"param.attn_v", score}}) {
      // A chunk of one vector has no attention: its parameters get no gradient, where the file holds zeros.
      const Tensor gradient = variable.gradient().defined() ? variable.grad() : Tensor::zeros(variable.shape(), golden.dtype());
      golden.check("grad." + name, gradient);
    }
  });
}
