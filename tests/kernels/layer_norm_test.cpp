/// Layer normalization against loops in double, and the same bytes for any number of threads.

#include "refrain/kernels/layer_norm.hpp"
#include "refrain/kernels/run.hpp"
#include "row_sizes.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/naive.hpp"
#include "support/tensors.hpp"

using namespace refrain;
using namespace refrain::test;

TEMPLATE_TEST_CASE("layer_norm: forward is the naive loop", "[kernel][layer_norm]", float, double) {
  using T = TestType;
  for (const auto [rows, width] : row_sizes) {
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
      kernels::run(args);
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

TEMPLATE_TEST_CASE("layer_norm: backward is the naive chain rule", "[kernel][layer_norm]", float,
                   double) {
  using T = TestType;
  for (const auto [rows, width] : row_sizes) {
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
      kernels::run(args);
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
