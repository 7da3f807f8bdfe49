#pragma once
/// Element-by-element operations on every backend, against scalar formulas in double.

#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

#include "refrain/core/random.hpp"
#include "refrain/kernels/pointwise.hpp"
#include "support/cases/backend.hpp"
#include "support/cases/outputs.hpp"
#include "support/naive.hpp"

namespace refrain::test {

using kernels::UnaryFunction;

/// A function and its formula.
struct UnaryFormula {
  UnaryFunction function;
  const char* name;
  double (*value)(double);
};

inline constexpr UnaryFormula unary_formulas[] = {
    {UnaryFunction::relu, "relu", [](double x) { return x > 0 ? x : 0.0; }},
    {UnaryFunction::gelu, "gelu", naive::gelu},
    {UnaryFunction::sigmoid, "sigmoid", naive::sigmoid},
    {UnaryFunction::tanh, "tanh", [](double x) { return std::tanh(x); }},
};

/// The function of x, or with `dy` its gradient.
template <class Backend, class T>
GuardedArray<T, Backend::device> unary(const std::vector<T>& x, UnaryFunction function,
                                       const GuardedArray<T, Backend::device>* dy = nullptr) {
  const Shape shape{static_cast<std::int64_t>(x.size())};
  const GuardedArray<T, Backend::device> in(shape, x);
  GuardedArray<T, Backend::device> out(shape);
  if (dy != nullptr) {
    Backend::run(
        kernels::UnaryBackward{.x = in, .dy = dy->view(), .dx = out, .function = function});
  } else {
    Backend::run(kernels::UnaryForward{.x = in, .y = out, .function = function});
  }
  return out;
}

template <class Backend, class T>
void check_unary(std::int64_t count, int offset = 0) {
  constexpr Device where = Backend::device;
  const Shape shape{count};
  const auto x = random_array<T, where>(shape, 1, 3, offset);
  for (const UnaryFormula& known : unary_formulas) {
    INFO(known.name << " of " << count << past(offset));
    naive::Values values;
    for (const double at : x.doubles()) values.push_back(known.value(at));
    check_outputs<Backend, T>(
        {{shape, values, true}},
        {.choices = Choices::all, .offset = offset, .allowed = tolerance::element<T>},
        [&](auto& outputs) {
          Backend::run(kernels::UnaryForward{.x = x, .y = outputs[0], .function = known.function});
        });
  }
}

/// Compares gradients with central differences of the formula.
template <class Backend, class T>
void check_unary_gradient(std::int64_t count, int offset = 0) {
  constexpr Device where = Backend::device;
  const Shape shape{count};
  const auto x = random_array<T, where>(shape, 2, 2, offset),
             dy = random_array<T, where>(shape, 3, 1, offset);
  const auto at = x.doubles(), upstream = dy.doubles();
  for (const UnaryFormula& known : unary_formulas) {
    INFO(known.name << " of " << count << past(offset));
    naive::Values slopes;
    for (std::size_t i = 0; i < at.size(); ++i) {
      const double step = 1e-5;
      // At zero relu has different one-sided derivatives; another test checks the kernel's value
      // there.
      const bool kink = known.function == UnaryFunction::relu && std::abs(at[i]) <= step;
      const double slope = (known.value(at[i] + step) - known.value(at[i] - step)) / (2 * step);
      slopes.push_back(upstream[i] * (kink ? (at[i] > 0 ? 1.0 : 0.0) : slope));
    }
    check_outputs<Backend, T>(
        {{shape, slopes, true}},
        {.choices = Choices::all,
         .offset = offset,
         // f64: the error of the differences
         .allowed = tolerance::pick<T>({5e-6, 1e-6}, {1e-9, 1e-9})},
        [&](auto& outputs) {
          Backend::run(kernels::UnaryBackward{
              .x = x, .dy = dy, .dx = outputs[0], .function = known.function});
        });
  }
}

/// Values and slopes at -farthest and farthest, nearer to zero, at zero and for NaN.
template <class Backend, class T>
void check_unary_corners() {
  const T farthest{1e20F};  // its cube overflows in f32
  const T nan = std::numeric_limits<T>::quiet_NaN(), infinity = std::numeric_limits<T>::infinity();
  const double missing = std::numeric_limits<double>::quiet_NaN();
  const std::vector<T> far = {-farthest, -1000, -100, -20, 0, 20, 100, 1000, farthest, nan};
  const double large = static_cast<double>(farthest), small = 2.0611536181902037e-9;
  const GuardedArray<T, Backend::device> one({10}, std::vector<T>(10, T{1}));
  const auto check = [&](UnaryFunction function, const naive::Values& values,
                         const naive::Values& slopes, Tolerance allowed) {
    INFO("function " << static_cast<int>(function));
    check_close<T>(unary<Backend, T>(far, function).span(), values, allowed);
    check_close<T>(unary<Backend, T>(far, function, &one).span(), slopes, allowed);
  };
  check(UnaryFunction::relu, {0, 0, 0, 0, 0, 20, 100, 1000, large, missing},
        {0, 0, 0, 0, 0, 1, 1, 1, 1, 0}, tolerance::exact);
  check(UnaryFunction::gelu, {0, 0, 0, 0, 0, 20, 100, 1000, large, missing},
        {0, 0, 0, 0, 0.5, 1, 1, 1, 1, missing}, tolerance::element<T>);
  check(UnaryFunction::sigmoid, {0, 0, 0, small, 0.5, 1 - small, 1, 1, 1, missing},
        {0, 0, 0, small, 0.25, small, 0, 0, 0, missing}, tolerance::element<T>);
  check(UnaryFunction::tanh, {-1, -1, -1, -1, 0, 1, 1, 1, 1, missing},
        {0, 0, 0, 0, 1, 0, 0, 0, 0, missing}, tolerance::element<T>);
  const std::vector<T> ends = {-infinity, infinity};
  check_close<T>(unary<Backend, T>(ends, UnaryFunction::sigmoid).span(), naive::Values{0, 1},
                 tolerance::exact);
  check_close<T>(unary<Backend, T>(ends, UnaryFunction::tanh).span(), naive::Values{-1, 1},
                 tolerance::exact);
}

/// alpha a + beta b and a b, by an array and by one element, also in place.
template <class Backend, class T>
void check_linear_combination_and_multiply(std::int64_t count, int offset = 0) {
  constexpr Device where = Backend::device;
  INFO(count << " elements" << past(offset));
  const Shape shape{count};
  const auto a = random_array<T, where>(shape, 5, 1, offset),
             b = random_array<T, where>(shape, 6, 1, offset);
  // One element of rank 1 and of rank 0.
  const GuardedArray<T, where> factor({1}, {T{-3}}), scalar(Shape{}, {T{-3}});
  const auto va = a.doubles(), vb = b.doubles();
  naive::Values both, alone, product, scaled;
  for (std::size_t i = 0; i < va.size(); ++i) {
    both.push_back(0.75 * va[i] - 1.5 * vb[i]);
    alone.push_back(0.75 * va[i]);
    product.push_back(va[i] * vb[i]);
    scaled.push_back(-3 * va[i]);
  }
  const auto combine = [&](View x, View y, MutableView out) {
    Backend::run(
        kernels::LinearCombination{.a = x, .b = y, .out = out, .alpha = 0.75, .beta = -1.5});
  };
  const auto multiply = [&](View x, View y, MutableView out) {
    Backend::run(kernels::Multiply{.a = x, .b = y, .out = out});
  };
  const auto results = check_outputs<Backend, T>(
      {{shape, both, true}, {shape, alone, true}, {shape, product, true}, {shape, scaled, true}},
      {.choices = Choices::all, .offset = offset, .allowed = tolerance::element<T>},
      [&](auto& outputs) {
        combine(a.view(), b.view(), outputs[0]);
        Backend::run(kernels::LinearCombination{.a = a, .out = outputs[1], .alpha = 0.75});
        multiply(a.view(), b.view(), outputs[2]);
        multiply(a.view(), factor.view(), outputs[3]);
      });
  Backend::for_each_setting([&] {
    auto in_a = random_array<T, where>(shape, 5, 1, offset),
         in_b = random_array<T, where>(shape, 6, 1, offset),
         times = random_array<T, where>(shape, 5, 1, offset);
    combine(in_a.view(), b.view(), in_a.mutable_view());
    combine(a.view(), in_b.view(), in_b.mutable_view());
    multiply(times.view(), scalar.view(), times.mutable_view());
    CHECK(same_bytes(in_a, results.array(0)));
    CHECK(same_bytes(in_b, results.array(0)));
    CHECK(same_bytes(times, results.array(3)));
  });
}

/// The inner product and the sum.
template <class Backend, class T>
void check_dot(std::int64_t count) {
  constexpr Device where = Backend::device;
  INFO(count << " elements");
  const auto a = random_array<T, where>({count}, 9), b = random_array<T, where>({count}, 10);
  const auto va = a.doubles(), vb = b.doubles();
  check_outputs<Backend, T>(
      {{{1}, {std::inner_product(va.begin(), va.end(), vb.begin(), 0.0)}, true},
       {{1}, {std::accumulate(va.begin(), va.end(), 0.0)}, true}},
      {.choices = Choices::all}, [&](auto& outputs) {
        Backend::run(kernels::Dot{.a = a, .b = b, .out = outputs[0]});
        Backend::run(kernels::Dot{.a = a, .out = outputs[1]});
      });
}

/// Dropout keeps the elements that the words of Philox select, also where a shift in memory is
/// added to the position.
template <class Backend, class T>
void check_dropout(std::int64_t count, double keep, int offset = 0) {
  constexpr Device where = Backend::device;
  const std::uint64_t seed = 0x123456789abcdef0u, stream = 0xfedcba987u,
                      position = 0xfffffffffeu;  // carries past 32 bits
  INFO(count << " elements, keep " << keep << past(offset));
  const Shape shape{count};
  const GuardedArray<std::int64_t, where> shift({1}, {7});
  const auto x = random_array<T, where>(shape, 11, 1, offset);
  const auto values = x.doubles();
  naive::Values expected;
  std::int64_t kept = 0;
  for (std::uint64_t i = 0; i < values.size(); ++i) {
    const bool keeps = philox(seed, stream, position + i / 4)[i % 4] < keep * 4294967296.0;
    expected.push_back(keeps ? values[i] / keep : 0.0);
    kept += keeps ? 1 : 0;
  }
  check_outputs<Backend, T>(
      {{shape, expected, true}, {shape, expected, true}},
      {.choices = Choices::all, .offset = offset, .allowed = tolerance::element<T>},
      [&](auto& outputs) {
        kernels::Dropout args{.x = x,
                              .y = outputs[0],
                              .keep = keep,
                              .seed = seed,
                              .stream = stream,
                              .position = position};
        Backend::run(args);
        args.y = outputs[1];
        args.position = position - 7;
        args.shift = shift;
        Backend::run(args);
      });
  if (count > 100000) {
    // Five standard deviations of the binomial distribution.
    CHECK(std::abs(static_cast<double>(kept) / static_cast<double>(count) - keep) <=
          5 * std::sqrt(keep * (1 - keep) / static_cast<double>(count)));
  }
}

template <class Backend>
void check_integers_are_refused() {
  GuardedArray<std::int32_t, Backend::device> a({3});
  CHECK_THROWS_MATCHES(Backend::run(kernels::Multiply{.a = a, .b = a, .out = a}), DTypeError,
                       message_contains("multiply: expected f32 or f64, got i32"));
}

}  // namespace refrain::test
