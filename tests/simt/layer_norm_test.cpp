/// Layer normalization on CUDA, emulated, against loops in double.

#include "refrain/kernels/layer_norm.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/guarded_array.hpp"
#include "support/naive.hpp"
#include "support/simt/orders.hpp"
#include "support/simt/run_emulated.hpp"

using namespace refrain;
using namespace refrain::test;
namespace cuda = kernels::cuda;

namespace {

struct NormSize {
  std::int64_t rows;
  std::int64_t width;
  int offset;
};

/// No rows; one; around four warps a block; each register row, with and without 16-byte groups;
/// rows that need a block; several slices of rows.
const NormSize norm_sizes[] = {{0, 8, 0},    {1, 1, 0},     {3, 64, 0},   {4, 64, 1},
                               {5, 63, 0},   {17, 100, 0},  {9, 256, 0},  {2, 257, 0},
                               {3, 640, 0},  {2, 1024, 0},  {2, 1025, 0}, {2, 1300, 1},
                               {130, 20, 0}, {200, 301, 0}, {1100, 3, 0}};

template <class T>
double norm_epsilon() {
  return 1e-3;  // lest a row of one element, all epsilon, decide the tolerance
}

}  // namespace

TEMPLATE_TEST_CASE("cuda layer_norm: forward is the naive loop", "[simt][layer_norm]", float,
                   double) {
  using T = TestType;
  for (const auto [rows, width, offset] : norm_sizes) {
    INFO(rows << " rows of " << width << ", " << offset << " past a multiple of 16 bytes");
    const auto x = random_array<T>({rows, width}, 1, 1, offset);
    const auto gamma = random_array<T>({width}, 2), beta = random_array<T>({width}, 3);
    const auto expected =
        naive::layer_norm(x.doubles(), gamma.doubles(), beta.doubles(), rows, norm_epsilon<T>());
    for_each_order([&, rows = rows, width = width, offset = offset] {
      DeviceArray<T> y({rows, width}, {}, offset), normalized({rows, width}), inv_std({rows}),
          alone({rows, width});
      kernels::LayerNormForward args{.x = x.view(),
                                     .gamma = gamma.view(),
                                     .beta = beta.view(),
                                     .y = alone.mutable_view(),
                                     .epsilon = norm_epsilon<T>()};
      run_emulated(args);
      args.y = y.mutable_view();
      args.normalized = normalized.mutable_view();
      args.inv_std = inv_std.mutable_view();
      run_emulated(args);
      check_close<T>(y.span(), expected.y, tolerance::sum<T>);
      check_close<T>(normalized.span(), expected.normalized, tolerance::sum<T>);
      check_close<T>(inv_std.span(), expected.inv_std, tolerance::sum<T>);
      check_close<T>(alone.span(), expected.y, tolerance::sum<T>);
    });
  }
}

TEMPLATE_TEST_CASE(
    "cuda layer_norm: backward is the naive chain rule, the same bits in every order",
    "[simt][layer_norm]", float, double) {
  using T = TestType;
  for (const auto [rows, width, offset] : norm_sizes) {
    INFO(rows << " rows of " << width << ", " << offset << " past a multiple of 16 bytes");
    const Shape shape{rows, width};
    const auto gamma = random_array<T>({width}, 2), inv_std = random_array<T>({rows}, 4);
    const auto normalized = random_array<T>(shape, 3), dy = random_array<T>(shape, 5, 1, offset);
    const auto g = gamma.doubles(), n = normalized.doubles(), s = inv_std.doubles(),
               d = dy.doubles();
    const std::size_t columns = naive::at(width);
    std::vector<double> dx, dgamma(columns), dbeta(columns);
    for (std::size_t row = 0; row < naive::at(rows); ++row) {
      const std::size_t first = row * columns;
      double mean = 0, slope = 0;
      for (std::size_t c = 0; c < columns; ++c) {
        mean += d[first + c] * g[c] / static_cast<double>(width);
        slope += d[first + c] * g[c] * n[first + c] / static_cast<double>(width);
        dgamma[c] += d[first + c] * n[first + c];
        dbeta[c] += d[first + c];
      }
      for (std::size_t c = 0; c < columns; ++c)
        dx.push_back(s[row] * (d[first + c] * g[c] - mean - n[first + c] * slope));
    }
    std::vector<T> first;
    for_each_order([&, width = width] {
      DeviceArray<T> got_dx(shape), got_dgamma({width}), got_dbeta({width}), alone({width});
      kernels::LayerNormBackward args{.gamma = gamma.view(),
                                      .normalized = normalized.view(),
                                      .inv_std = inv_std.view(),
                                      .dy = dy.view()};
      args.dbeta = alone.mutable_view();
      run_emulated(args);
      args.dbeta = {};
      args.dx = got_dx.mutable_view();
      run_emulated(args);
      check_close<T>(got_dx.span(), dx, tolerance::sum<T>);
      args.dgamma = got_dgamma.mutable_view();
      args.dbeta = got_dbeta.mutable_view();
      run_emulated(args);
      check_close<T>(got_dx.span(), dx, tolerance::sum<T>);
      check_close<T>(got_dgamma.span(), dgamma, tolerance::sum<T>);
      check_close<T>(got_dbeta.span(), dbeta, tolerance::sum<T>);
      CHECK(same_bytes(alone, got_dbeta));
      const std::vector<T> sums(got_dgamma.span().begin(), got_dgamma.span().end());
      if (first.empty()) first = sums;
      CHECK(sums == first);
    });
  }
}
