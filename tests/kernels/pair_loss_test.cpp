/// Losses of pairs of items against loops in double, and the same bytes for any number of threads.

#include "refrain/kernels/loss.hpp"
#include "refrain/kernels/run.hpp"
#include "row_sizes.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/naive.hpp"
#include "support/tensors.hpp"

using namespace refrain;
using namespace refrain::test;

TEMPLATE_TEST_CASE("pair_loss: loss and gradients are the naive ones", "[kernel][loss]", float,
                   double) {
  using T = TestType;
  for (const auto kind : {kernels::PairLossKind::bpr, kernels::PairLossKind::logistic}) {
    for (const auto [rows, width] : row_sizes) {
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
        kernels::run<kernels::PairLoss>({.user = user.view(),
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
  kernels::run<kernels::PairLoss>({.user = user.view(),
                                   .table = items.view(),
                                   .positives = first.view(),
                                   .negatives = second.view(),
                                   .loss = loss.mutable_view(),
                                   .duser = duser.mutable_view()});
  check_close<float>(loss, {1000.0}, tolerance::element<float>);  // mean of 0 and 2000
  check_close<float>(duser, {0.0, -1.0}, tolerance::element<float>);
}
