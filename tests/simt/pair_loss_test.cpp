/// The loss of pairs on CUDA, emulated, against its formula in double.

#include "refrain/kernels/loss.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/guarded_array.hpp"
#include "support/naive_loss.hpp"
#include "support/simt/orders.hpp"
#include "support/simt/run_emulated.hpp"

using namespace refrain;
using namespace refrain::test;
using kernels::PairLossKind;
namespace cuda = kernels::cuda;

namespace {

struct NaivePairLoss {
  double loss = 0;
  naive::Values duser, dtable_rows;
};

NaivePairLoss naive_pair_loss(const naive::Values& user, const naive::Values& table,
                              const std::int32_t* positives, const std::int32_t* negatives,
                              std::size_t rows, std::size_t width, PairLossKind kind) {
  NaivePairLoss out{0, naive::Values(rows * width), naive::Values(2 * rows * width)};
  for (std::size_t row = 0; row < rows; ++row) {
    const std::size_t positive = naive::at(positives[row]), negative = naive::at(negatives[row]);
    const double p = naive::score(user, row, table, positive, width),
                 n = naive::score(user, row, table, negative, width);
    double dp = naive::sigmoid(p - n) - 1, dn = 1 - naive::sigmoid(p - n);
    if (kind == PairLossKind::bpr) {
      out.loss -= std::log(naive::sigmoid(p - n));
    } else {
      out.loss -= std::log(naive::sigmoid(p)) + std::log(1 - naive::sigmoid(n));
      dp = naive::sigmoid(p) - 1;
      dn = naive::sigmoid(n);
    }
    for (std::size_t c = 0; c < width; ++c) {
      const double share = 1 / static_cast<double>(rows);
      out.duser[row * width + c] =
          share * (dp * table[positive * width + c] + dn * table[negative * width + c]);
      out.dtable_rows[row * width + c] = share * dp * user[row * width + c];
      out.dtable_rows[(rows + row) * width + c] = share * dn * user[row * width + c];
    }
  }
  out.loss /= static_cast<double>(std::max<std::size_t>(1, rows));
  return out;
}

}  // namespace

TEMPLATE_TEST_CASE(
    "cuda pair_loss: loss and gradients are the formula's, the same bits in every order",
    "[simt][pair_loss]", float, double) {
  using T = TestType;
  struct Case {
    std::int64_t rows, width;
    int offset;
  };
  // No rows, one, around a block of eight, several blocks; columns of less than a warp, more than
  // one pass, no multiple of 16 bytes.
  const Case cases[] = {{0, 4, 0},  {1, 1, 0},  {7, 20, 0},  {8, 20, 1},
                        {9, 33, 0}, {50, 8, 0}, {3, 300, 0}, {70, 3, 0}};
  for (const auto [rows, width, offset] : cases) {
    const std::int64_t items = 13;
    const auto user = random_array<T>({rows, width}, 1, 0.5, offset),
               table = random_array<T>({items, width}, 2, 0.5, offset);
    const auto positives = random_id_array(rows, items, 3),
               negatives = random_id_array(rows, items, 4);
    for (const PairLossKind kind : {PairLossKind::bpr, PairLossKind::logistic}) {
      INFO(rows << " rows of " << width << ", " << offset << " past a multiple of 16 bytes, kind "
                << static_cast<int>(kind));
      const NaivePairLoss expected =
          naive_pair_loss(user.doubles(), table.doubles(), positives.data(), negatives.data(),
                          naive::at(rows), naive::at(width), kind);
      std::vector<T> first;
      for_each_order([&, rows = rows, width = width, offset = offset] {
        DeviceArray<T> loss({1}), alone({1}), duser({rows, width}, {}, offset),
            dtable_rows({2 * rows, width}, {}, offset);
        kernels::PairLoss args{.user = user.view(),
                               .table = table.view(),
                               .positives = positives.view(),
                               .negatives = negatives.view(),
                               .loss = alone.mutable_view(),
                               .kind = kind};
        run_emulated(args);
        args.loss = loss.mutable_view();
        args.duser = duser.mutable_view();
        args.dtable_rows = dtable_rows.mutable_view();
        run_emulated(args);
        check_close<T>(loss.span(), std::vector<double>{expected.loss}, tolerance::sum<T>);
        check_close<T>(duser.span(), expected.duser, tolerance::sum<T>);
        check_close<T>(dtable_rows.span(), expected.dtable_rows, tolerance::sum<T>);
        CHECK(same_bytes(loss, alone));
        if (first.empty()) first = {loss.data()[0]};
        CHECK(first[0] == loss.data()[0]);

        if (rows > 9) return;
        DeviceArray<T> duser_only({rows, width}, {}, offset),
            dtable_only({2 * rows, width}, {}, offset);
        args.dtable_rows = {};
        args.duser = duser_only.mutable_view();
        run_emulated(args);
        args.duser = {};
        args.dtable_rows = dtable_only.mutable_view();
        run_emulated(args);
        CHECK(same_bytes(duser_only, duser));
        CHECK(same_bytes(dtable_only, dtable_rows));
      });
    }
  }
}

TEST_CASE("cuda pair_loss: scores far apart", "[simt][pair_loss]") {
  // user . positive = 300 a, user . negative = -300 a: the losses are 0 and 600 a, or 0 and 600 a
  // in two parts; no overflow on the way.
  const DeviceArray<float> user({1, 1}, {300}), table({2, 1}, {1, -1});
  const DeviceArray<std::int32_t> first({1}, {0}), second({1}, {1});
  const auto run = [&](const DeviceArray<std::int32_t>& positive,
                       const DeviceArray<std::int32_t>& negative, PairLossKind kind) {
    DeviceArray<float> loss({1}), duser({1, 1});
    run_emulated<kernels::PairLoss>({.user = user.view(),
                                     .table = table.view(),
                                     .positives = positive.view(),
                                     .negatives = negative.view(),
                                     .loss = loss.mutable_view(),
                                     .duser = duser.mutable_view(),
                                     .kind = kind});
    return std::vector<double>{loss.data()[0], duser.data()[0]};
  };
  for (const PairLossKind kind : {PairLossKind::bpr, PairLossKind::logistic}) {
    CHECK(run(first, second, kind) == std::vector<double>{0, 0});
    CHECK(run(second, first, kind) == std::vector<double>{600, 2});
  }
}
