/// Parameter updates against loops over single numbers in double.

#include <set>

#include "refrain/kernels/optimizer.hpp"
#include "refrain/kernels/run.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/naive.hpp"
#include "support/tensors.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {

const std::int64_t element_counts[] = {0, 1, 17, 1009, 100003};
const naive::AdamOptions adam_options[] = {{1e-2, 0.9, 0.999, 1e-8, 0, 0, 1},
                                           {3e-3, 0.8, 0.95, 1e-4, 0.02, 0.1, 1}};

template <class Args>
void set_options(Args& args, const naive::AdamOptions& o, int step) {
  args.learning_rate = o.learning_rate;
  args.beta1 = o.beta1;
  args.beta2 = o.beta2;
  args.epsilon = o.epsilon;
  args.l2 = o.l2;
  args.decay = o.decay;
  args.step = step;
}

/// Distinct rows in mixed order with -1 among them; rows 0 and 2 modulo 3 of the table are never
/// named.
Tensor some_rows(std::int64_t vocabulary) {
  std::vector<std::int32_t> rows;
  for (std::int64_t row = 1; row < vocabulary; row += 3)
    rows.push_back(static_cast<std::int32_t>(row));
  Random(5).shuffle(rows);
  if (!rows.empty()) rows.insert(rows.begin() + static_cast<std::ptrdiff_t>(rows.size() / 2), -1);
  rows.push_back(-1);
  return Tensor::from<std::int32_t>({static_cast<std::int64_t>(rows.size())},
                                    std::span<const std::int32_t>(rows));
}

/// Checks that rows of `after` that are not named have the bytes of `before`.
template <class T>
void check_untouched(const Tensor& before, const Tensor& after, const Tensor& rows) {
  const auto ids = integers(rows);
  const std::set<std::int32_t> named(ids.begin(), ids.end());
  bool same = true;
  for (std::int64_t row = 0; row < before.size(0); ++row) {
    if (named.count(static_cast<std::int32_t>(row)) == 0) {
      same = same && same_bytes(before.slice(row, row + 1), after.slice(row, row + 1));
    }
  }
  CHECK(same);
}

}  // namespace

TEMPLATE_TEST_CASE("adam: five steps equal the naive loop", "[kernel][optimizer]", float, double) {
  using T = TestType;
  for (const auto& option : adam_options) {
    for (const std::int64_t count : element_counts) {
      INFO(count << " elements");
      const Tensor start = random_tensor<T>({count}, 1);
      std::vector<double> parameter = doubles(start), m(parameter.size()), v(parameter.size());
      for (int step = 1; step <= 5; ++step) {
        const auto g = doubles(random_tensor<T>({count}, naive::at(step) + 10));
        naive::AdamOptions now = option;
        now.step = step;
        for (std::size_t i = 0; i < g.size(); ++i) naive::adam(parameter[i], g[i], m[i], v[i], now);
      }
      const auto got = same_for_any_threads([&] {
        Tensor p = start.clone(), m1 = Tensor::zeros({count}, dtype_of<T>),
               v1 = Tensor::zeros({count}, dtype_of<T>);
        for (int step = 1; step <= 5; ++step) {
          const Tensor g = random_tensor<T>({count}, naive::at(step) + 10);
          kernels::Adam args{.parameter = p.mutable_view(),
                             .gradient = g.view(),
                             .m = m1.mutable_view(),
                             .v = v1.mutable_view()};
          set_options(args, option, step);
          kernels::run(args);
        }
        return std::vector<Tensor>{p, m1, v1};
      });
      check_close<T>(got[0], parameter, tolerance::element<T>);
      check_close<T>(got[1], m, tolerance::element<T>);
      check_close<T>(got[2], v, tolerance::element<T>);
    }
  }
}

TEMPLATE_TEST_CASE("adam_rows: named rows move as in adam, others keep their bytes",
                   "[kernel][optimizer]", float, double) {
  using T = TestType;
  const Shape shapes[] = {{1, 1}, {7, 3}, {3000, 64}, {11, 2, 5}};
  for (const Shape& shape : shapes) {
    for (const auto& option : adam_options) {
      const Tensor rows = some_rows(shape[0]);
      const std::int64_t width = shape.numel() / shape[0];
      const Tensor start = random_tensor<T>(shape, 1), start_m = random_tensor<T>(shape, 2);
      Tensor start_v = random_tensor<T>(shape, 3);
      for (T& value : start_v.template span<T>()) value = value * value + 1;
      const Tensor values = random_tensor<T>(shape.with(0, rows.size(0)), 4);
      auto parameter = doubles(start), m = doubles(start_m), v = doubles(start_v);
      const auto gradient = doubles(values);
      const auto ids = integers(rows);
      naive::AdamOptions now = option;
      now.step = 9;
      for (std::size_t j = 0; j < ids.size(); ++j) {
        for (std::int64_t c = 0; ids[j] >= 0 && c < width; ++c) {
          const std::size_t i = naive::at(ids[j] * width + c);
          naive::adam(parameter[i], gradient[j * naive::at(width) + naive::at(c)], m[i], v[i], now);
        }
      }
      const auto got = same_for_any_threads([&] {
        Tensor p = start.clone(), m1 = start_m.clone(), v1 = start_v.clone();
        kernels::AdamRows args{.parameter = p.mutable_view(),
                               .rows = rows.view(),
                               .values = values.view(),
                               .m = m1.mutable_view(),
                               .v = v1.mutable_view()};
        set_options(args, option, 9);
        kernels::run(args);
        return std::vector<Tensor>{p, m1, v1};
      });
      check_close<T>(got[0], parameter, tolerance::element<T>);
      check_close<T>(got[1], m, tolerance::element<T>);
      check_close<T>(got[2], v, tolerance::element<T>);
      check_untouched<T>(start, got[0], rows);
      check_untouched<T>(start_m, got[1], rows);
      check_untouched<T>(start_v, got[2], rows);
    }
  }
}

TEMPLATE_TEST_CASE("adam_rows: all rows named is adam, bit for bit", "[kernel][optimizer]", float,
                   double) {
  using T = TestType;
  const Shape shape{37, 16};
  const Tensor start = random_tensor<T>(shape, 1), gradient = random_tensor<T>(shape, 2);
  Tensor rows({37}, DType::i32);
  for (std::int32_t i = 0; i < 37; ++i) rows.data<std::int32_t>()[i] = i;
  Tensor dense = start.clone(), dense_m = Tensor::zeros(shape, dtype_of<T>),
         dense_v = Tensor::zeros(shape, dtype_of<T>);
  Tensor lazy = start.clone(), lazy_m = Tensor::zeros(shape, dtype_of<T>),
         lazy_v = Tensor::zeros(shape, dtype_of<T>);
  for (int step = 1; step <= 3; ++step) {
    kernels::Adam adam{.parameter = dense.mutable_view(),
                       .gradient = gradient.view(),
                       .m = dense_m.mutable_view(),
                       .v = dense_v.mutable_view()};
    set_options(adam, adam_options[1], step);
    kernels::run(adam);
    kernels::AdamRows adam_rows{.parameter = lazy.mutable_view(),
                                .rows = rows.view(),
                                .values = gradient.view(),
                                .m = lazy_m.mutable_view(),
                                .v = lazy_v.mutable_view()};
    set_options(adam_rows, adam_options[1], step);
    kernels::run(adam_rows);
  }
  CHECK(same_bytes(lazy, dense));
  CHECK(same_bytes(lazy_m, dense_m));
  CHECK(same_bytes(lazy_v, dense_v));
}

TEST_CASE("adam_many: every parameter as alone, bit for bit", "[kernel][optimizer]") {
  const Tensor rows = some_rows(11);
  struct State {
    Tensor parameter, m, v;
  };
  std::vector<State> together, alone;
  std::vector<Tensor> gradients;
  for (std::uint64_t i = 0; i < 6; ++i) {  // two of f32 and one of f64 with each kind of gradient
    const bool dense = i < 3;
    const Shape shape = dense ? Shape{7 + static_cast<std::int64_t>(i)} : Shape{11, 3};
    const Shape of_gradient = dense ? shape : shape.with(0, rows.size(0));
    const bool single = i % 3 < 2;
    for (auto* all : {&together, &alone}) {
      const Tensor start =
          single ? random_tensor<float>(shape, i) : random_tensor<double>(shape, i);
      all->push_back(
          {start, Tensor::zeros(shape, start.dtype()), Tensor::zeros(shape, start.dtype())});
    }
    gradients.push_back(single ? random_tensor<float>(of_gradient, 20 + i)
                               : random_tensor<double>(of_gradient, 20 + i));
  }
  const auto with_state = [](auto args, State& state, int step) {
    args.parameter = state.parameter.mutable_view();
    args.m = state.m.mutable_view();
    args.v = state.v.mutable_view();
    set_options(args, adam_options[1], step);
    return args;
  };
  std::vector<kernels::Adam> dense;
  std::vector<kernels::AdamRows> sparse;
  for (std::size_t i = 0; i < 6; ++i) {
    const int step = static_cast<int>(i) + 1;
    if (i < 3) {
      dense.push_back(
          with_state(kernels::Adam{.gradient = gradients[i].view()}, together[i], step));
      kernels::run(with_state(kernels::Adam{.gradient = gradients[i].view()}, alone[i], step));
    } else {
      const kernels::AdamRows args{.rows = rows.view(), .values = gradients[i].view()};
      sparse.push_back(with_state(args, together[i], step));
      kernels::run(with_state(args, alone[i], step));
    }
  }
  kernels::run<kernels::AdamMany>({.dense = dense, .sparse = sparse});
  kernels::run<kernels::AdamMany>({});
  for (std::size_t i = 0; i < 6; ++i) {
    INFO("parameter " << i);
    CHECK(same_bytes(together[i].parameter, alone[i].parameter));
    CHECK(same_bytes(together[i].m, alone[i].m));
    CHECK(same_bytes(together[i].v, alone[i].v));
  }
}

TEMPLATE_TEST_CASE("sgd: with and without momentum", "[kernel][optimizer]", float, double) {
  using T = TestType;
  for (const std::int64_t count : element_counts) {
    const Tensor start = random_tensor<T>({count}, 1), gradient = random_tensor<T>({count}, 2);
    const auto g = doubles(gradient);
    auto plain = doubles(start), moved = doubles(start);
    std::vector<double> velocity(plain.size());
    for (int step = 0; step < 3; ++step) {
      for (std::size_t i = 0; i < g.size(); ++i) {
        plain[i] -= 0.1 * (g[i] + 0.01 * plain[i]);
        velocity[i] = 0.9 * velocity[i] + (g[i] + 0.01 * moved[i]);
        moved[i] -= 0.1 * velocity[i];
      }
    }
    const auto got = same_for_any_threads([&] {
      Tensor p = start.clone(), q = start.clone(), speed = Tensor::zeros({count}, dtype_of<T>);
      for (int step = 0; step < 3; ++step) {
        kernels::run<kernels::Sgd>({.parameter = p.mutable_view(),
                                    .gradient = gradient.view(),
                                    .learning_rate = 0.1,
                                    .l2 = 0.01});
        kernels::run<kernels::Sgd>({.parameter = q.mutable_view(),
                                    .gradient = gradient.view(),
                                    .velocity = speed.mutable_view(),
                                    .learning_rate = 0.1,
                                    .momentum = 0.9,
                                    .l2 = 0.01});
      }
      return std::vector<Tensor>{p, q, speed};
    });
    check_close<T>(got[0], plain, tolerance::element<T>);
    check_close<T>(got[1], moved, tolerance::element<T>);
    check_close<T>(got[2], velocity, tolerance::element<T>);
  }
}

TEMPLATE_TEST_CASE("sgd_rows: moves the named rows alone", "[kernel][optimizer]", float, double) {
  using T = TestType;
  const Shape shape{3000, 33};
  const Tensor rows = some_rows(shape[0]);
  const Tensor start = random_tensor<T>(shape, 1),
               values = random_tensor<T>(shape.with(0, rows.size(0)), 2);
  auto expected = doubles(start);
  const auto g = doubles(values);
  const auto ids = integers(rows);
  for (std::size_t j = 0; j < ids.size(); ++j) {
    for (std::int64_t c = 0; ids[j] >= 0 && c < 33; ++c) {
      double& parameter = expected[naive::at(ids[j] * 33 + c)];
      parameter -= 0.1 * (g[j * 33 + naive::at(c)] + 0.01 * parameter);
    }
  }
  const auto got = same_for_any_threads([&] {
    Tensor p = start.clone();
    kernels::run<kernels::SgdRows>({.parameter = p.mutable_view(),
                                    .rows = rows.view(),
                                    .values = values.view(),
                                    .learning_rate = 0.1,
                                    .l2 = 0.01});
    return std::vector<Tensor>{p};
  });
  check_close<T>(got[0], expected, tolerance::element<T>);
  check_untouched<T>(start, got[0], rows);
}
