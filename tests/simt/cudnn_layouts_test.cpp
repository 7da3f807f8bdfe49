/// Conversions between the library's tensors and cuDNN's, emulated: with them, the naive loops of a
/// cross-correlation compute the library's convolution.

#include "refrain/kernels/causal_conv.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/cudnn/layouts.hpp"
#include "support/guarded_array.hpp"
#include "support/naive_conv.hpp"
#include "support/simt/orders.hpp"
#include "support/tensors.hpp"

using namespace refrain;
using namespace refrain::test;
namespace cuda = kernels::cuda;

namespace {

/// y[b,t,o] = sum_{j,c} filter[o,j,c] padded[b, t + j * dilation, c], padded = x behind `before`
/// steps of zeros: a cross-correlation as cuDNN documents it, with filter [out,taps,in].
std::vector<double> cross_correlation(const std::vector<double>& x,
                                      const std::vector<double>& filter, const cuda::Taps& extents,
                                      std::int64_t batch, std::int64_t steps, std::int64_t dilation,
                                      std::int64_t before) {
  std::vector<double> y;
  for (std::int64_t b = 0; b < batch; ++b) {
    for (std::int64_t t = 0; t < steps; ++t) {
      for (std::int64_t o = 0; o < extents.out; ++o) {
        double sum = 0;
        for (std::int64_t j = 0; j < extents.taps; ++j) {
          const std::int64_t from = t + j * dilation - before;
          if (from < 0 || from >= steps) continue;
          for (std::int64_t c = 0; c < extents.in; ++c) {
            sum += filter[static_cast<std::size_t>((o * extents.taps + j) * extents.in + c)] *
                   x[static_cast<std::size_t>((b * steps + from) * extents.in + c)];
          }
        }
        y.push_back(sum);
      }
    }
  }
  return y;
}

const cuda::Taps cases[] = {{1, 1, 1}, {3, 5, 7}, {2, 16, 17}, {4, 1, 3}, {1, 33, 2}};

}  // namespace

TEST_CASE("cuda filter_from_taps: cuDNN's cross-correlation with the filter equals the convolution",
          "[simt][cudnn]") {
  const std::int64_t batch = 2, steps = 9;
  for (const cuda::Taps& extents : cases) {
    INFO("K " << extents.taps << ", Cin " << extents.in << ", Cout " << extents.out);
    const auto x = random_array<float>({batch, steps, extents.in}, 1);
    const auto w = random_array<float>({extents.taps, extents.in, extents.out}, 2);
    for_each_order([&] {
      DeviceArray<float> filter({extents.out, extents.taps, extents.in});
      cuda::filter_from_taps(w.data(), extents, filter.data());
      for (const kernels::Padding padding : {kernels::Padding::causal, kernels::Padding::same}) {
        for (const std::int64_t dilation : {1, 3}) {
          const std::int64_t after = kernels::look_ahead(padding, extents.taps, dilation);
          const naive::ConvSizes sizes{.batch = batch,
                                       .steps = steps,
                                       .in = extents.in,
                                       .out = extents.out,
                                       .taps = extents.taps,
                                       .dilation = dilation,
                                       .same = padding == kernels::Padding::same};
          const std::vector<double> expected = naive::conv(x.doubles(), w.doubles(), {}, sizes);
          const std::vector<double> got =
              cross_correlation(x.doubles(), filter.doubles(), extents, batch, steps, dilation,
                                (extents.taps - 1) * dilation - after);
          check_close<double>(std::span<const double>(got), std::span<const double>(expected),
                              tolerance::sum<double>);
        }
      }
    });
  }
}

TEST_CASE("cuda taps_from_filter: the inverse of filter_from_taps", "[simt][cudnn]") {
  for (const cuda::Taps& extents : cases) {
    const auto w = random_array<float>({extents.taps, extents.in, extents.out}, 2);
    for_each_order([&] {
      DeviceArray<float> filter({extents.out, extents.taps, extents.in});
      DeviceArray<float> back({extents.taps, extents.in, extents.out});
      cuda::filter_from_taps(w.data(), extents, filter.data());
      cuda::taps_from_filter(filter.data(), extents, back.data());
      CHECK(back.doubles() == w.doubles());
    });
  }
}

TEST_CASE("cuda add_to_rows, write_identity: sums of rows and a row, rows of the identity",
          "[simt][cudnn]") {
  const auto x = random_array<float>({7, 45}, 1);
  const auto row = random_array<float>({45}, 2);
  for_each_order([&] {
    DeviceArray<float> y({7, 45});
    cuda::add_to_rows(x.data(), row.data(), 7, 45, y.data());
    DeviceArray<float> matrix({5, 20});
    cuda::write_identity(matrix.data(), 10, 5, 20);
    for (std::int64_t r = 0; r < 7; ++r) {
      for (std::int64_t c = 0; c < 45; ++c)
        REQUIRE(y.data()[r * 45 + c] == x.data()[r * 45 + c] + row.data()[c]);
    }
    for (std::int64_t r = 0; r < 5; ++r) {
      for (std::int64_t c = 0; c < 20; ++c)
        REQUIRE(matrix.data()[r * 20 + c] == (c == 10 + r ? 1.0f : 0.0f));
    }
  });
}
