/// Row kernels against loops in double, and the same bytes for any number of threads.

#include <limits>
#include <set>

#include "refrain/kernels/table.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/naive.hpp"
#include "support/tensors.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {

const kernels::Table& table() { return kernels::table(Device::cpu); }

struct Size {
  std::int64_t rows;
  std::int64_t width;
};

/// None, one, primes, vector length - 1, exact and + 1, several tasks.
const Size sizes[] = {{0, 7},  {1, 1},   {1, 64},   {3, 15},    {5, 16},
                      {7, 17}, {31, 33}, {257, 64}, {1009, 97}, {40000, 5}};

}  // namespace

TEMPLATE_TEST_CASE("layer_norm: forward is the naive loop", "[kernel][rows]", float, double) {
  using T = TestType;
  for (const auto [rows, width] : sizes) {
    INFO(rows << " rows of " << width);
    const Shape shape{rows, width};
    const Tensor x = random_tensor<T>(shape, 1);
    const Tensor gamma = random_tensor<T>({width}, 2);
    const Tensor beta = random_tensor<T>({width}, 3);
    const double epsilon = 1e-3;  // lest a row of one element, all epsilon, decide the tolerance
    const auto expected =
        naive::layer_norm(doubles(x), doubles(gamma), doubles(beta), rows, epsilon);
    const auto run = [&, rows = rows](bool save) {
      Tensor y = garbage<T>(shape), normalized = garbage<T>(shape), inv_std = garbage<T>({rows});
      kernels::LayerNormForward args{
          .x = x.view(), .gamma = gamma.view(), .beta = beta.view(), .y = y.mutable_view()};
      if (save) {
        args.normalized = normalized.mutable_view();
        args.inv_std = inv_std.mutable_view();
      }
      args.epsilon = epsilon;
      table().layer_norm_forward(args);
      return std::vector<Tensor>{y, normalized, inv_std};
    };
    const auto got = same_for_any_threads([&] { return run(true); });
    check_close<T>(got[0], expected.y, tolerance::sum<T>);
    check_close<T>(got[1], expected.normalized, tolerance::sum<T>);
    check_close<T>(got[2], expected.inv_std, tolerance::sum<T>);
    const auto unsaved = run(false);
    check_close<T>(unsaved[0], expected.y, tolerance::sum<T>);
    CHECK(same_bytes(unsaved[1], garbage<T>(shape)));
  }
}

TEMPLATE_TEST_CASE("layer_norm: backward is the naive chain rule", "[kernel][rows]", float,
                   double) {
  using T = TestType;
  for (const auto [rows, width] : sizes) {
    INFO(rows << " rows of " << width);
    const Shape shape{rows, width};
    const Tensor gamma = random_tensor<T>({width}, 2);
    const Tensor normalized = random_tensor<T>(shape, 3);
    const Tensor inv_std = random_tensor<T>({rows}, 4);
    const Tensor dy = random_tensor<T>(shape, 5);
    std::vector<double> dx, dgamma(naive::at(width)), dbeta(naive::at(width));
    const auto g = doubles(gamma), n = doubles(normalized), s = doubles(inv_std), d = doubles(dy);
    for (std::size_t row = 0; row < naive::at(rows); ++row) {
      const std::size_t first = row * naive::at(width);
      for (std::size_t c = 0; c < naive::at(width); ++c) {
        // The Jacobian of the normalization: inv_std (delta(c,j) - 1/C - normalized_c normalized_j
        // / C).
        double sum = 0;
        for (std::size_t j = 0; j < naive::at(width); ++j) {
          const double jacobian =
              (c == j ? 1.0 : 0.0) - (1 + n[first + c] * n[first + j]) / static_cast<double>(width);
          sum += s[row] * jacobian * d[first + j] * g[j];
        }
        dx.push_back(sum);
        dgamma[c] += d[first + c] * n[first + c];
        dbeta[c] += d[first + c];
      }
    }
    const auto run = [&, width = width](bool want_dx, bool want_sums) {
      Tensor got_dx = garbage<T>(shape), got_dgamma = garbage<T>({width}),
             got_dbeta = garbage<T>({width});
      kernels::LayerNormBackward args{.gamma = gamma.view(),
                                      .normalized = normalized.view(),
                                      .inv_std = inv_std.view(),
                                      .dy = dy.view()};
      if (want_dx) args.dx = got_dx.mutable_view();
      if (want_sums) args.dgamma = got_dgamma.mutable_view();
      if (want_sums) args.dbeta = got_dbeta.mutable_view();
      table().layer_norm_backward(args);
      return std::vector<Tensor>{got_dx, got_dgamma, got_dbeta};
    };
    const auto got = same_for_any_threads([&] { return run(true, true); });
    check_close<T>(got[0], dx, tolerance::sum<T>);
    check_close<T>(got[1], dgamma, tolerance::sum<T>);
    check_close<T>(got[2], dbeta, tolerance::sum<T>);
    CHECK(same_bytes(run(true, false)[0], got[0]));
    CHECK(same_bytes(run(true, false)[1], garbage<T>({width})));
    CHECK(same_bytes(run(false, true)[1], got[1]));
    CHECK(same_bytes(run(false, true)[0], garbage<T>(shape)));
  }
}

TEMPLATE_TEST_CASE("gather_rows: copies the named rows", "[kernel][rows]", float, double) {
  using T = TestType;
  for (const auto [count, width] : sizes) {
    const Tensor from = random_tensor<T>({13, width}, 1);
    const Tensor ids = random_ids(count, 13, 2);
    const auto got = same_for_any_threads([&, count = count, width = width] {
      Tensor out = garbage<T>({count, width});
      table().gather_rows({.table = from.view(), .ids = ids.view(), .out = out.mutable_view()});
      return std::vector<Tensor>{out};
    });
    check_close<T>(got[0], naive::gather(doubles(from), integers(ids), width), tolerance::exact);
  }
}

TEMPLATE_TEST_CASE("coalesce_rows: sums by id in rising order of ids", "[kernel][rows]", float,
                   double) {
  using T = TestType;
  // One digit of the sort, two, three, and ids at the end of the range; many and few repeats.
  for (const std::int64_t vocabulary :
       {std::int64_t{1}, std::int64_t{7}, std::int64_t{2048}, std::int64_t{2049},
        std::int64_t{1} << 24, std::int64_t{2147483647}}) {
    for (const auto [count, width] : sizes) {
      INFO(count << " ids below " << vocabulary << ", rows of " << width);
      const Tensor ids = random_ids(count, vocabulary, 3);
      const Tensor dy = random_tensor<T>({count, width}, 4);
      const auto got = same_for_any_threads([&, count = count, width = width] {
        Tensor rows = Tensor::full({count}, -9, DType::i32), values = garbage<T>({count, width});
        table().coalesce_rows({.ids = ids.view(),
                               .dy = dy.view(),
                               .rows = rows.mutable_view(),
                               .values = values.mutable_view()});
        return std::vector<Tensor>{rows, values};
      });
      std::vector<std::int32_t> expected_rows;
      std::vector<double> expected_values;
      for (const auto& [id, sum] : naive::sums_by_id(integers(ids), doubles(dy), width)) {
        expected_rows.push_back(id);
        expected_values.insert(expected_values.end(), sum.begin(), sum.end());
      }
      expected_rows.resize(naive::at(count), -1);
      expected_values.resize(naive::at(count * width), 0.0);
      CHECK(integers(got[0]) == expected_rows);
      check_close<T>(
          got[1], expected_values,
          tolerance::pick<T>({2e-5, 2e-5}, {1e-13, 1e-13}));  // up to 40000 plain additions
    }
  }
}

TEST_CASE("coalesce_rows: adds in the order of positions", "[kernel][rows]") {
  // In float (1 + 1e8) - 1e8 is 0 and 1 + (1e8 - 1e8) is 1: only one order gives each.
  const Tensor ids = Tensor::from<std::int32_t>({6}, {4, 4, 2, 4, 2, 2});
  const Tensor dy = Tensor::from<float>({6, 1}, {1.0f, 1e8f, 1e8f, -1e8f, -1e8f, 1.0f});
  Tensor rows({6}, DType::i32), values({6, 1}, DType::f32);
  table().coalesce_rows({.ids = ids.view(),
                         .dy = dy.view(),
                         .rows = rows.mutable_view(),
                         .values = values.mutable_view()});
  CHECK(integers(rows) == std::vector<std::int32_t>{2, 4, -1, -1, -1, -1});
  CHECK(doubles(values) == std::vector<double>{1, 0, 0, 0, 0, 0});
}

TEST_CASE("coalesce_rows: rows of negative ids are left out", "[kernel][rows]") {
  const Tensor ids = Tensor::from<std::int32_t>({7}, {-1, 5, 3, -1, 5, -1, 0});
  const Tensor dy = Tensor::from<float>({7, 2}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14});
  Tensor rows({7}, DType::i32), values = garbage<float>({7, 2});
  table().coalesce_rows({.ids = ids.view(),
                         .dy = dy.view(),
                         .rows = rows.mutable_view(),
                         .values = values.mutable_view()});
  CHECK(integers(rows) == std::vector<std::int32_t>{0, 3, 5, -1, -1, -1, -1});
  CHECK(doubles(values) == std::vector<double>{13, 14, 5, 6, 12, 14, 0, 0, 0, 0, 0, 0, 0, 0});
  const Tensor none = Tensor::full({7}, -1, DType::i32);
  table().coalesce_rows({.ids = none.view(),
                         .dy = dy.view(),
                         .rows = rows.mutable_view(),
                         .values = values.mutable_view()});
  CHECK(integers(rows) == std::vector<std::int32_t>(7, -1));
  CHECK(doubles(values) == std::vector<double>(14, 0));
}

TEMPLATE_TEST_CASE("add_rows: adds to the named rows and leaves the others", "[kernel][rows]",
                   float, double) {
  using T = TestType;
  for (const auto [count, width] : sizes) {
    const std::int64_t vocabulary = 2 * count + 1;
    Tensor rows({count}, DType::i32);
    for (std::int32_t i = 0; i < static_cast<std::int32_t>(count); ++i) {
      rows.data<std::int32_t>()[i] =
          i % 5 == 3 ? -1 : static_cast<std::int32_t>(vocabulary) - 1 - 2 * i;
    }
    const Tensor values = random_tensor<T>({count, width}, 5);
    const Tensor before = random_tensor<T>({vocabulary, width}, 6);
    const auto got = same_for_any_threads([&] {
      Tensor to = before.clone();
      table().add_rows({.rows = rows.view(), .values = values.view(), .to = to.mutable_view()});
      return std::vector<Tensor>{to};
    });
    std::vector<double> expected = doubles(before);
    const auto added = doubles(values);
    for (std::int64_t j = 0; j < count; ++j) {
      const std::int32_t row = rows.data<std::int32_t>()[j];
      for (std::int64_t c = 0; row >= 0 && c < width; ++c)
        expected[naive::at(row * width + c)] += added[naive::at(j * width + c)];
    }
    check_close<T>(got[0], expected, tolerance::element<T>);
  }
}

TEMPLATE_TEST_CASE("select_step: picks a step, and its gradient puts it back", "[kernel][rows]",
                   float, double) {
  using T = TestType;
  const Shape shapes[] = {{0, 3, 2}, {1, 1, 1}, {3, 5, 7}, {64, 50, 64}, {4001, 3, 5}};
  for (const Shape& shape : shapes) {
    const std::int64_t batch = shape[0], steps = shape[1], width = shape[2];
    const Tensor x = random_tensor<T>(shape, 7);
    const Tensor dy = random_tensor<T>({batch, width}, 8);
    const auto x_values = doubles(x), dy_values = doubles(dy);
    for (const std::int64_t step : {std::int64_t{0}, steps / 2, steps - 1}) {
      const auto got = same_for_any_threads([&] {
        Tensor y = garbage<T>({batch, width}), dx = garbage<T>(shape);
        table().select_step({.x = x.view(), .y = y.mutable_view(), .step = step});
        table().select_step_backward({.dy = dy.view(), .dx = dx.mutable_view(), .step = step});
        return std::vector<Tensor>{y, dx};
      });
      std::vector<double> y, dx(x_values.size());
      for (std::int64_t b = 0; b < batch; ++b) {
        for (std::int64_t c = 0; c < width; ++c) {
          const std::size_t place = naive::at((b * steps + step) * width + c);
          y.push_back(x_values[place]);
          dx[place] = dy_values[naive::at(b * width + c)];
        }
      }
      check_close<T>(got[0], y, tolerance::exact);
      check_close<T>(got[1], dx, tolerance::exact);
    }
  }
}

TEMPLATE_TEST_CASE("sum_rows: column sums", "[kernel][rows]", float, double) {
  using T = TestType;
  for (const auto [rows, width] : sizes) {
    INFO(rows << " rows of " << width);
    const Tensor x = random_tensor<T>({rows, width}, 9);
    const auto got = same_for_any_threads([&, width = width] {
      Tensor out = garbage<T>({width});
      table().sum_rows({.x = x.view(), .out = out.mutable_view()});
      return std::vector<Tensor>{out};
    });
    check_close<T>(got[0], naive::column_sums(doubles(x), rows, width), tolerance::sum<T>);
  }
}

namespace {

template <class T>
std::vector<Tensor> top_k(const Tensor& scores, std::int64_t k) {
  Tensor values = garbage<T>({scores.size(0), k});
  Tensor indices = Tensor::full({scores.size(0), k}, -9, DType::i32);
  kernels::table(Device::cpu)
      .top_k({.scores = scores.view(),
              .values = values.mutable_view(),
              .indices = indices.mutable_view()});
  return {values, indices};
}

template <class T>
void check_top_k(const Tensor& scores, std::int64_t k) {
  const std::int64_t rows = scores.size(0), length = scores.size(1);
  INFO(rows << " rows of " << length << ", k " << k);
  const auto got = same_for_any_threads([&] { return top_k<T>(scores, k); });
  const auto all = doubles(scores);
  std::vector<double> values;
  std::vector<std::int32_t> indices;
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::vector<double> one(all.begin() + row * length, all.begin() + (row + 1) * length);
    const auto order = naive::ranking(one);
    for (std::int64_t j = 0; j < k; ++j) {
      indices.push_back(order[naive::at(j)]);
      values.push_back(one[naive::at(order[naive::at(j)])]);
    }
  }
  CHECK(integers(got[1]) == indices);
  check_close<T>(got[0], values, tolerance::exact);
}

}  // namespace

TEMPLATE_TEST_CASE("top_k: equals a full sort", "[kernel][rows]", float, double) {
  using T = TestType;
  // The last two are long rows, which are cut into segments; 65537 leaves a segment of one score.
  const Size cases[] = {{0, 5},    {1, 1},     {3, 7},     {2, 64},
                        {5, 1009}, {200, 300}, {2, 65537}, {1, 200003}};
  for (const auto [rows, length] : cases) {
    for (const std::int64_t k : {std::int64_t{1}, std::int64_t{5}, std::int64_t{100}, length}) {
      if (k > length || (k == length && length > 2000)) continue;
      check_top_k<T>(random_tensor<T>({rows, length}, 10), k);
      Tensor ties = random_tensor<T>({rows, length}, 11);  // few distinct scores
      for (T& score : ties.template span<T>()) score = std::round(score);
      check_top_k<T>(ties, k);
      Tensor rising({rows, length}, dtype_of<T>);  // the worst case for a threshold
      for (std::int64_t i = 0; i < rising.numel(); ++i) rising.data<T>()[i] = static_cast<T>(i);
      check_top_k<T>(rising, k);
    }
  }
}

TEMPLATE_TEST_CASE("top_k: rows whose best scores are equal, tiny, huge or few", "[kernel][rows]",
                   float, double) {
  using T = TestType;
  using Limits = std::numeric_limits<T>;
  constexpr std::int64_t length = 1000;  // long enough for a threshold from maxima of groups
  for (const T score :
       {T(0), -T(0), Limits::denorm_min(), -Limits::min(), T(3), Limits::max(), -Limits::max()}) {
    for (const std::int64_t k : {1, 2, 20, 64, 65}) {
      INFO("score " << score << ", k " << k);
      check_top_k<T>(Tensor::full({2, length}, static_cast<double>(score), dtype_of<T>), k);
      Tensor few = Tensor::full({1, length}, -static_cast<double>(Limits::infinity()), dtype_of<T>);
      for (const std::int64_t i : {7, 128 + 7, 500, 999}) few.data<T>()[i] = score;
      check_top_k<T>(few, k);
    }
  }
}

TEMPLATE_TEST_CASE("top_k: NaN ranks last, infinities in their places", "[kernel][rows]", float,
                   double) {
  using T = TestType;
  const T nan = std::numeric_limits<T>::quiet_NaN(), infinity = std::numeric_limits<T>::infinity();
  check_top_k<T>(
      Tensor::from<T>({2, 5}, {nan, 1, -infinity, nan, infinity, nan, nan, nan, nan, nan}), 5);
  check_top_k<T>(
      Tensor::from<T>({2, 5}, {nan, 1, -infinity, nan, infinity, nan, nan, nan, nan, nan}), 3);
  for (const std::int64_t length : {500, 1000, 70000}) {
    Tensor scores = Tensor::full({2, length}, nan, dtype_of<T>);
    for (const std::int64_t i : {std::int64_t{3}, length - 1}) scores.data<T>()[i] = -infinity;
    scores.data<T>()[length / 2] = 1;
    for (const std::int64_t k : {1, 2, 4, 70}) check_top_k<T>(scores, k);
  }
}

TEMPLATE_TEST_CASE("pair_loss: loss and gradients are the naive ones", "[kernel][loss]", float,
                   double) {
  using T = TestType;
  for (const auto kind : {kernels::PairLossKind::bpr, kernels::PairLossKind::logistic}) {
    for (const auto [rows, width] : sizes) {
      INFO(rows << " rows of " << width);
      const Tensor user = random_tensor<T>({rows, width}, 1);
      const Tensor items = random_tensor<T>({11, width}, 2);
      const Tensor positives = random_ids(rows, 11, 3), negatives = random_ids(rows, 11, 4);
      const auto u = doubles(user), p = naive::gather(doubles(items), integers(positives), width),
                 n = naive::gather(doubles(items), integers(negatives), width);
      double loss = 0;
      std::vector<double> duser(u.size()), dpositive(u.size()), dnegative(u.size());
      for (std::size_t row = 0; row < naive::at(rows); ++row) {
        const std::size_t first = row * naive::at(width);
        double ps = 0, ns = 0;
        for (std::size_t i = first; i < first + naive::at(width); ++i)
          ps += u[i] * p[i], ns += u[i] * n[i];
        const bool bpr = kind == kernels::PairLossKind::bpr;
        const double share = 1 / static_cast<double>(rows);
        loss += share * (bpr ? -std::log(naive::sigmoid(ps - ns))
                             : -std::log(naive::sigmoid(ps)) - std::log(naive::sigmoid(-ns)));
        const double dp = share * (bpr ? naive::sigmoid(ps - ns) - 1 : naive::sigmoid(ps) - 1);
        const double dn = share * (bpr ? 1 - naive::sigmoid(ps - ns) : naive::sigmoid(ns));
        for (std::size_t i = first; i < first + naive::at(width); ++i) {
          duser[i] = dp * p[i] + dn * n[i];
          dpositive[i] = dp * u[i];
          dnegative[i] = dn * u[i];
        }
      }
      dpositive.insert(dpositive.end(), dnegative.begin(), dnegative.end());
      const auto got = same_for_any_threads([&, rows = rows, width = width] {
        Tensor out = garbage<T>({1}), du = garbage<T>({rows, width}),
               dt = garbage<T>({2 * rows, width});
        table().pair_loss({.user = user.view(),
                           .table = items.view(),
                           .positives = positives.view(),
                           .negatives = negatives.view(),
                           .loss = out.mutable_view(),
                           .duser = du.mutable_view(),
                           .dtable_rows = dt.mutable_view(),
                           .kind = kind});
        return std::vector<Tensor>{out, du, dt};
      });
      check_close<T>(got[0], {loss}, tolerance::sum<T>);
      check_close<T>(got[1], duser, tolerance::sum<T>);
      check_close<T>(got[2], dpositive, tolerance::sum<T>);
    }
  }
}

TEST_CASE("pair_loss: scores far apart give finite numbers", "[kernel][loss]") {
  const Tensor user = Tensor::from<float>({2, 1}, {1000, -1000});
  const Tensor items = Tensor::from<float>({2, 1}, {1, -1});
  const Tensor first = Tensor::from<std::int32_t>({2}, {0, 0}),
               second = Tensor::from<std::int32_t>({2}, {1, 1});
  Tensor loss({1}, DType::f32), duser({2, 1}, DType::f32);
  table().pair_loss({.user = user.view(),
                     .table = items.view(),
                     .positives = first.view(),
                     .negatives = second.view(),
                     .loss = loss.mutable_view(),
                     .duser = duser.mutable_view()});
  check_close<float>(loss, {1000.0}, tolerance::element<float>);  // mean of 0 and 2000
  check_close<float>(duser, {0.0, -1.0}, tolerance::element<float>);
}
