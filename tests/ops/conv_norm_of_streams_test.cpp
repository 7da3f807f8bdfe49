/// Half a block at the next time step of many streams: each has the bits of conv_norm_at_steps()
/// alone, at any number of threads.

#include <numeric>
#include <vector>

#include "refrain/ops/conv_norm_of_streams.hpp"
#include "support/catch.hpp"
#include "support/variables.hpp"

namespace refrain::test::of_conv_norm_of_streams {
namespace {

constexpr std::int64_t taps = 3;

/// The part of a task and the arguments of conv_norm_at_steps() for it.
template <class T>
struct OneTask {
  OneTask(std::int64_t channels, std::int64_t width, Insertion where, bool own_norm,
          std::uint64_t seed)
      : insertion(where) {
    const auto random = [&](const Shape& shape) {
      return Variable(random_tensor<T>(shape, seed++, 0.5));
    };
    if (where != Insertion::none) {
      patch = {.down = random({channels, width}),
               .down_bias = random({width}),
               .up = random({width, channels}),
               .up_bias = random({channels})};
    }
    if (own_norm) {
      gamma = random({channels});
      beta = random({channels});
    }
    half = half_of_task(patch, insertion, own_norm ? &gamma : nullptr, own_norm ? &beta : nullptr);
  }

  Insertion insertion;
  PatchParameters patch;
  Variable gamma, beta;
  HalfOfTask half;
};

template <class T>
void expect_bits_alone(std::int64_t channels, const std::vector<std::int64_t>& widths,
                       std::int64_t streams, bool with_residual) {
  INFO(channels << " channels, " << streams << " streams, residual " << with_residual);
  const NoGrad off;
  std::uint64_t seed = 100;
  const auto random = [&](const Shape& shape) {
    return Variable(random_tensor<T>(shape, seed++, 0.5));
  };
  const Variable weight = random({taps, channels, channels}), bias = random({channels}),
                 gamma = random({channels}), beta = random({channels});
  std::vector<OneTask<T>> tasks;
  for (const Insertion where : {Insertion::none, Insertion::serial, Insertion::parallel}) {
    for (const std::int64_t width : widths) {
      for (const bool own_norm : {false, true})
        tasks.emplace_back(channels, width, where, own_norm, seed += 10);
    }
  }
  // Rows of taps: x, then those of earlier time steps.
  const Variable rows = random({streams, taps, channels});
  const Variable residual = with_residual ? random({streams, 1, channels}) : Variable();
  Tensor x({streams, channels}, rows.dtype());
  std::vector<const void*> before;
  std::vector<const HalfOfTask*> halves;
  std::vector<std::size_t> task_of;
  Random mix(7);
  std::size_t task = 0;
  for (std::int64_t b = 0; b < streams; ++b) {
    const T* const row = rows.value().template data<T>() + b * taps * channels;
    std::copy_n(row, channels, x.template data<T>() + b * channels);
    for (std::int64_t k = 1; k < taps; ++k) before.push_back(row + k * channels);
    if (mix.below(5) < 3) task = static_cast<std::size_t>(mix.below(std::ssize(tasks)));
    task_of.push_back(task);
    halves.push_back(&tasks[task].half);
  }
  ConvTaps next{.taps_at = Tensor({1, taps}, DType::i32),
                .own_at = Tensor::zeros({1}, DType::i32),
                .residual_at = Tensor::zeros({1}, DType::i32)};
  std::iota(next.taps_at.data<std::int32_t>(), next.taps_at.data<std::int32_t>() + taps, 0);
  for (const int count : {1, 2, 3}) {
    const ThreadCount scope(count);
    const Variable flat =
        with_residual ? Variable(residual.value().reshape({streams, channels})) : Variable();
    const Tensor y =
        conv_norm_of_streams(Variable(x), before, weight, bias, gamma, beta, flat, halves, 1e-8);
    for (std::int64_t b = 0; b < streams; ++b) {
      const OneTask<T>& own = tasks[task_of[static_cast<std::size_t>(b)]];
      const auto part = [b](const Variable& all) {
        return all.defined() ? Variable(all.value().slice(b, b + 1)) : Variable();
      };
      const Variable alone =
          conv_norm_at_steps(part(rows), weight, bias, own.gamma.defined() ? own.gamma : gamma,
                             own.beta.defined() ? own.beta : beta, part(residual), own.patch, next,
                             {.insertion = own.insertion, .epsilon = 1e-8});
      INFO("stream " << b << ", " << count << " threads");
      CHECK(same_bytes(y.slice(b, b + 1), alone.value().reshape({1, channels})));
    }
  }
}

}  // namespace

TEMPLATE_TEST_CASE("conv_norm_of_streams: each stream has the bits that it has alone", "[ops]",
                   float, double) {
  for (const std::int64_t streams : {1, 2, 3, 7, 8, 9, 40}) {
    expect_bits_alone<TestType>(16, {16, 4, 8}, streams, streams % 2 == 0);
    expect_bits_alone<TestType>(20, {16, 5}, streams, streams % 2 == 1);
    expect_bits_alone<TestType>(64, {16, 32, 48}, streams, true);
  }
  expect_bits_alone<TestType>(5, {1, 3}, 11, true);
  expect_bits_alone<TestType>(32, {16, 7}, 1030, true);
}

TEST_CASE("conv_norm_of_streams: arguments that do not fit are refused", "[ops]") {
  const NoGrad off;
  const auto value = [](const Shape& shape, DType dtype = DType::f32) {
    return Variable(Tensor::zeros(shape, dtype));
  };
  const HalfOfTask none;
  const std::vector<float> row(8);
  const std::vector<const void*> before(4, row.data());
  const std::vector<const HalfOfTask*> tasks(2, &none);
  const auto call = [&](const Variable& x, std::span<const void* const> earlier,
                        std::span<const HalfOfTask* const> of_tasks) {
    return conv_norm_of_streams(x, earlier, value({3, 8, 8}), value({8}), value({8}), value({8}),
                                {}, of_tasks, 1e-8);
  };
  CHECK(call(value({2, 8}), before, tasks).shape() == Shape({2, 8}));
  CHECK(call(value({0, 8}), {}, {}).shape() == Shape({0, 8}));
  CHECK_THROWS_AS(call(value({2, 9}), before, tasks), ShapeError);
  CHECK_THROWS_AS(call(value({2, 1, 8}), before, tasks), ShapeError);
  CHECK_THROWS_AS(call(value({2, 8}, DType::f64), before, tasks), DTypeError);
  CHECK_THROWS_WITH(call(value({2, 8}), std::span(before).first(3), tasks),
                    contains("expected 2 tasks and 2 earlier rows for each, got 2 and 3"));
  CHECK_THROWS_AS(call(value({2, 8}), before, std::span(tasks).first(1)), ShapeError);

  const auto patch = [&](DType dtype, std::int64_t channels) {
    return PatchParameters{.down = value({channels, 4}, dtype),
                           .down_bias = value({4}, dtype),
                           .up = value({4, channels}, dtype),
                           .up_bias = value({channels}, dtype)};
  };
  const PatchParameters wide = patch(DType::f32, 9), real = patch(DType::f64, 8);
  for (const PatchParameters* parameters : {&wide, &real}) {
    const HalfOfTask other = half_of_task(*parameters, Insertion::serial, nullptr, nullptr);
    const std::vector<const HalfOfTask*> misfit{&none, &other};
    if (parameters == &wide) {
      CHECK_THROWS_WITH(call(value({2, 8}), before, misfit),
                        contains("expected a task of 8 channels, got 9"));
    } else {
      CHECK_THROWS_AS(call(value({2, 8}), before, misfit), DTypeError);
    }
  }
  const Variable eight = value({8}), nine = value({9});
  CHECK_THROWS_AS(half_of_task(wide, Insertion::serial, &eight, &eight), ShapeError);
  CHECK_THROWS_AS(half_of_task({}, Insertion::none, &eight, &nine), ShapeError);
  CHECK_THROWS_AS(half_of_task({}, Insertion::serial, nullptr, nullptr), ShapeError);
  PatchParameters bank = patch(DType::f32, 8);
  bank.bank_rows = Tensor::zeros({1}, DType::i32);
  CHECK_THROWS_AS(half_of_task(bank, Insertion::serial, nullptr, nullptr), OptionError);
}

}  // namespace refrain::test::of_conv_norm_of_streams
