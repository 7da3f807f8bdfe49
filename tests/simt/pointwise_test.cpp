/// Element-by-element CUDA kernels, emulated, against scalar formulas in double; whole entries,
/// with their grids and scratch memory.

#include <functional>

#include "refrain/core/random.hpp"
#include "refrain/kernels/pointwise.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/guarded_array.hpp"
#include "support/naive.hpp"
#include "support/simt/orders.hpp"
#include "support/simt/run_emulated.hpp"

using namespace refrain;
using namespace refrain::test;
using kernels::UnaryFunction;
namespace cuda = kernels::cuda;

namespace {

/// None, one, around a pack, around a block of packs, several blocks.
const std::int64_t counts[] = {0, 1, 3, 4, 5, 31, 1023, 1024, 1025, 2999};

struct Known {
  UnaryFunction function;
  const char* name;
  double (*value)(double);
};

const Known functions[] = {
    {UnaryFunction::relu, "relu", [](double x) { return x > 0 ? x : 0.0; }},
    {UnaryFunction::gelu, "gelu", naive::gelu},
    {UnaryFunction::sigmoid, "sigmoid", naive::sigmoid},
    {UnaryFunction::tanh, "tanh", [](double x) { return std::tanh(x); }},
};

/// Calls body(count, offset) for every size, aligned to 16 bytes and not.
template <class Body>
void for_sizes(Body body) {
  for (const std::int64_t count : counts) {
    for (const int offset : {0, 1}) {
      INFO(count << " elements, " << offset << " past a multiple of 16 bytes");
      body(count, offset);
    }
  }
}

}  // namespace

TEMPLATE_TEST_CASE("cuda unary: values and slopes are the formula's", "[simt][pointwise]", float,
                   double) {
  using T = TestType;
  for_sizes([](std::int64_t count, int offset) {
    const auto x = random_array<T>({count}, 1, 2, offset);
    const auto dy = random_array<T>({count}, 2, 1, offset);
    const auto at = x.doubles(), upstream = dy.doubles();
    for (const Known& known : functions) {
      INFO(known.name);
      std::vector<double> values, slopes;
      for (std::size_t i = 0; i < at.size(); ++i) {
        const double step = 1e-5;
        const bool kink = known.function == UnaryFunction::relu && std::abs(at[i]) <= step;
        const double slope = (known.value(at[i] + step) - known.value(at[i] - step)) / (2 * step);
        values.push_back(known.value(at[i]));
        slopes.push_back(upstream[i] * (kink ? (at[i] > 0 ? 1.0 : 0.0) : slope));
      }
      for_each_order([&] {
        DeviceArray<T> y({count}, {}, offset), dx({count}, {}, offset);
        run_emulated<kernels::UnaryForward>(
            {.x = x.view(), .y = y.mutable_view(), .function = known.function});
        run_emulated<kernels::UnaryBackward>(
            {.x = x.view(), .dy = dy.view(), .dx = dx.mutable_view(), .function = known.function});
        check_close<T>(y.span(), values, tolerance::element<T>);
        check_close<T>(
            dx.span(), slopes,
            tolerance::pick<T>({5e-6, 1e-6}, {1e-9, 1e-9}));  // f64: the differences' own error
      });
    }
  });
}

TEST_CASE("cuda unary: far from zero, at zero and for NaN", "[simt][pointwise]") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> far = {-1e20f, -1000, -100, -20, 0, 20, 100, 1000, 1e20f, nan};
  const DeviceArray<float> x({10}, far), one({10}, std::vector<float>(10, 1.0f));
  const auto run = [&](UnaryFunction function, bool slope) {
    DeviceArray<float> y({10});
    if (slope) {
      run_emulated<kernels::UnaryBackward>(
          {.x = x.view(), .dy = one.view(), .dx = y.mutable_view(), .function = function});
    } else {
      run_emulated<kernels::UnaryForward>(
          {.x = x.view(), .y = y.mutable_view(), .function = function});
    }
    return y;
  };
  check_close<float>(run(UnaryFunction::relu, false).span(),
                     std::vector<double>{0, 0, 0, 0, 0, 20, 100, 1000, 1e20f, nan},
                     tolerance::exact);
  check_close<float>(run(UnaryFunction::gelu, false).span(),
                     std::vector<double>{0, 0, 0, 0, 0, 20, 100, 1000, 1e20f, nan},
                     tolerance::element<float>);
  check_close<float>(run(UnaryFunction::sigmoid, false).span(),
                     std::vector<double>{0, 0, 0, 2.0611536181902037e-9, 0.5, 1, 1, 1, 1, nan},
                     tolerance::element<float>);
  check_close<float>(run(UnaryFunction::tanh, false).span(),
                     std::vector<double>{-1, -1, -1, -1, 0, 1, 1, 1, 1, nan},
                     tolerance::element<float>);
  check_close<float>(run(UnaryFunction::relu, true).span(),
                     std::vector<double>{0, 0, 0, 0, 0, 1, 1, 1, 1, 0}, tolerance::exact);
  check_close<float>(run(UnaryFunction::gelu, true).span(),
                     std::vector<double>{0, 0, 0, 0, 0.5, 1, 1, 1, 1, nan},
                     tolerance::element<float>);
  check_close<float>(run(UnaryFunction::sigmoid, true).span(),
                     std::vector<double>{0, 0, 0, 2.0611536181902037e-9, 0.25, 0, 0, 0, 0, nan},
                     tolerance::element<float>);
  check_close<float>(run(UnaryFunction::tanh, true).span(),
                     std::vector<double>{0, 0, 0, 0, 1, 0, 0, 0, 0, nan},
                     tolerance::element<float>);
}

TEMPLATE_TEST_CASE("cuda linear_combination and multiply: the formulas, also in place",
                   "[simt][pointwise]", float, double) {
  using T = TestType;
  for_sizes([](std::int64_t count, int offset) {
    const auto a = random_array<T>({count}, 5, 1, offset),
               b = random_array<T>({count}, 6, 1, offset);
    const DeviceArray<T> factor({1}, {T{-3}});
    const auto va = a.doubles(), vb = b.doubles();
    std::vector<double> both, alone, product, scaled;
    for (std::size_t i = 0; i < va.size(); ++i) {
      both.push_back(0.75 * va[i] - 1.5 * vb[i]);
      alone.push_back(0.75 * va[i]);
      product.push_back(va[i] * vb[i]);
      scaled.push_back(-3 * va[i]);
    }
    for_each_order([&] {
      DeviceArray<T> out({count}, {}, offset), one({count}, {}, offset), times({count}, {}, offset),
          by({count}, {}, offset);
      run_emulated<kernels::LinearCombination>(
          {.a = a.view(), .b = b.view(), .out = out.mutable_view(), .alpha = 0.75, .beta = -1.5});
      run_emulated<kernels::LinearCombination>(
          {.a = a.view(), .out = one.mutable_view(), .alpha = 0.75});
      run_emulated<kernels::Multiply>({.a = a.view(), .b = b.view(), .out = times.mutable_view()});
      run_emulated<kernels::Multiply>(
          {.a = a.view(), .b = factor.view(), .out = by.mutable_view()});
      check_close<T>(out.span(), both, tolerance::element<T>);
      check_close<T>(one.span(), alone, tolerance::element<T>);
      check_close<T>(times.span(), product, tolerance::element<T>);
      check_close<T>(by.span(), scaled, tolerance::element<T>);
      auto in_place = random_array<T>({count}, 5, 1, offset);
      run_emulated<kernels::LinearCombination>({.a = in_place.view(),
                                                .b = b.view(),
                                                .out = in_place.mutable_view(),
                                                .alpha = 0.75,
                                                .beta = -1.5});
      CHECK(same_bytes(in_place, out));
    });
  });
}

TEMPLATE_TEST_CASE("cuda dot: inner product and plain sum, the same bits in every order",
                   "[simt][pointwise]", float, double) {
  using T = TestType;
  for (const std::int64_t count : {0, 1, 255, 4096, 4097, 10007}) {
    INFO(count << " elements");
    const auto a = random_array<T>({count}, 9), b = random_array<T>({count}, 10);
    const auto va = a.doubles(), vb = b.doubles();
    std::vector<T> first;
    for_each_order([&] {
      DeviceArray<T> product({1}), sum({1});
      run_emulated<kernels::Dot>({.a = a.view(), .b = b.view(), .out = product.mutable_view()});
      run_emulated<kernels::Dot>({.a = a.view(), .out = sum.mutable_view()});
      check_close<T>(product.span(),
                     std::vector<double>{std::inner_product(va.begin(), va.end(), vb.begin(), 0.0)},
                     tolerance::sum<T>);
      check_close<T>(sum.span(), std::vector<double>{std::accumulate(va.begin(), va.end(), 0.0)},
                     tolerance::sum<T>);
      if (first.empty()) first = {product.data()[0], sum.data()[0]};
      CHECK(first == std::vector<T>{product.data()[0], sum.data()[0]});
    });
  }
}

TEMPLATE_TEST_CASE("cuda dropout: keeps what the words of Philox say", "[simt][pointwise]", float,
                   double) {
  using T = TestType;
  const std::uint64_t seed = 0x123456789abcdef0u, stream = 0xfedcba987u,
                      position = 0xfffffffffeu;  // carries past 32 bits
  const DeviceArray<std::int64_t> shift({1}, {7});
  for_sizes([&](std::int64_t count, int offset) {
    const auto x = random_array<T>({count}, 11, 1, offset);
    const auto values = x.doubles();
    for (const double keep : {0.1, 0.5, 1.0}) {
      INFO("keep " << keep);
      std::vector<double> expected;
      for (std::uint64_t i = 0; i < values.size(); ++i) {
        const bool keeps = philox(seed, stream, position + i / 4)[i % 4] < keep * 4294967296.0;
        expected.push_back(keeps ? values[i] / keep : 0.0);
      }
      for_each_order([&] {
        DeviceArray<T> y({count}, {}, offset);
        run_emulated<kernels::Dropout>({.x = x.view(),
                                        .y = y.mutable_view(),
                                        .keep = keep,
                                        .seed = seed,
                                        .stream = stream,
                                        .position = position});
        check_close<T>(y.span(), expected, tolerance::element<T>);

        DeviceArray<T> shifted({count}, {}, offset);
        run_emulated<kernels::Dropout>({.x = x.view(),
                                        .y = shifted.mutable_view(),
                                        .keep = keep,
                                        .seed = seed,
                                        .stream = stream,
                                        .position = position - 7,
                                        .shift = shift.view()});
        check_close<T>(shifted.span(), expected, tolerance::element<T>);
      });
    }
  });
}

TEST_CASE("cuda pointwise: integers are refused", "[simt][pointwise]") {
  DeviceArray<std::int32_t> a({3});
  CHECK_THROWS_MATCHES(
      run_emulated<kernels::Multiply>({.a = a.view(), .b = a.view(), .out = a.mutable_view()}),
      DTypeError, message_contains("multiply: expected f32 or f64, got i32"));
}
