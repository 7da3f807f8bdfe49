#pragma once
/// Parameter updates on every backend, against loops over single numbers in double.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <vector>

#include "refrain/kernels/optimizer.hpp"
#include "support/cases/backend.hpp"
#include "support/cases/outputs.hpp"
#include "support/naive.hpp"

namespace refrain::test {

/// The first step without L2 and weight decay; a later step with both.
inline constexpr naive::AdamOptions adam_options[] = {{1e-2, 0.9, 0.999, 1e-8, 0, 0, 1},
                                                      {3e-3, 0.8, 0.95, 1e-4, 0.02, 0.1, 7}};

/// One parameter to update: dense, or rows 1, 3, 5, ... in decreasing order with every fourth one
/// omitted.
struct UpdateSize {
  bool by_rows;
  std::int64_t rows;  ///< of the gradient
  std::int64_t width;
  int offset = 0;
  std::int64_t inner = 1;  ///< extent of an inner axis that the width contains
};

/// A parameter, its gradient and moments, and the results of a loop in double.
template <class Backend, class T>
class UpdateProblem {
  static constexpr Device where = Backend::device;

 public:
  UpdateProblem(const UpdateSize& size, std::uint64_t seed, const naive::AdamOptions& options,
                bool with_rates)
      : size_(size),
        options_(options),
        shape_(shape(size.by_rows ? 2 * size.rows + 2 : size.rows)),
        parameter_(random_array<T, where>(shape_, seed, 1, size.offset)),
        gradient_(random_array<T, where>(shape(size.rows), seed + 1, 1, size.offset)),
        m_(random_array<T, where>(shape_, seed + 2, 1, size.offset)),
        v_(random_array<T, where>(shape_, seed + 3, 1, size.offset)),
        names_({size.rows}),
        rates_({3}),
        with_rates_(with_rates) {
    for (std::int64_t i = 0; i < shape_.numel(); ++i)
      v_.data()[i] = v_.data()[i] * v_.data()[i] + T{1} / 4;
    for (std::int64_t j = 0; j < size.rows; ++j) {
      names_.data()[j] = j % 4 == 3 ? -1 : static_cast<std::int32_t>(2 * (size.rows - j) + 1);
    }
    expected_parameter_ = parameter_.doubles();
    expected_m_ = m_.doubles();
    expected_v_ = v_.doubles();
    set_step(options.step);
  }

  /// Sets the step of the options; also in memory, where a captured step reads it.
  void set_step(int step) {
    options_.step = step;
    rates_.data()[0] = options_.learning_rate;
    rates_.data()[1] = 1 / (1 - std::pow(options_.beta1, step));
    rates_.data()[2] = 1 / (1 - std::pow(options_.beta2, step));
  }

  /// Sets another gradient.
  void set_gradient(std::uint64_t seed) {
    const auto next = random_array<T, where>(shape(size_.rows), seed);
    std::copy_n(next.data(), next.span().size(), gradient_.data());
  }

  /// Sets the moments to their values before the first step.
  void clear_moments() {
    std::fill_n(m_.data(), m_.span().size(), T{0});
    std::fill_n(v_.data(), v_.span().size(), T{0});
    expected_m_ = m_.doubles();
    expected_v_ = v_.doubles();
  }

  void expect_adam() {
    for_elements([&](std::size_t at, double gradient) {
      naive::adam(expected_parameter_[at], gradient, expected_m_[at], expected_v_[at], options_);
    });
  }
  void expect_sgd(double rate, double momentum, double l2) {
    for_elements([&](std::size_t at, double gradient) {
      double& parameter = expected_parameter_[at];
      expected_m_[at] = momentum * expected_m_[at] + gradient + l2 * parameter;
      parameter -= rate * expected_m_[at];
    });
  }

  kernels::Adam adam() { return with_options(kernels::Adam{.gradient = gradient_}); }
  kernels::AdamRows adam_rows() {
    return with_options(kernels::AdamRows{.rows = names_, .values = gradient_});
  }
  void run_adam() {
    if (size_.by_rows) {
      Backend::run(adam_rows());
    } else {
      Backend::run(adam());
    }
  }
  kernels::Sgd sgd() { return {.parameter = parameter_, .gradient = gradient_, .velocity = m_}; }
  kernels::SgdRows sgd_rows() {
    return {.parameter = parameter_, .rows = names_, .values = gradient_};
  }

  /// Compares every element; elements that no update names must keep their bits.
  void check_parameter() const {
    INFO(text());
    check_close<T>(parameter_.span(), expected_parameter_, tolerance::element<T>);
    if (!size_.by_rows) return;
    std::vector<bool> named(parameter_.span().size());
    for_elements([&](std::size_t at, double) { named[at] = true; });
    bool kept = true;
    for (std::size_t i = 0; i < named.size(); ++i)
      kept =
          kept && (named[i] || static_cast<double>(parameter_.data()[i]) == expected_parameter_[i]);
    CHECK(kept);
  }
  void check_first_moment() const { check_close<T>(m_.span(), expected_m_, tolerance::element<T>); }
  void check_all() const {
    check_parameter();
    check_first_moment();
    check_close<T>(v_.span(), expected_v_, tolerance::element<T>);
  }
  bool same_as(const UpdateProblem& other) const {
    return same_bytes(parameter_, other.parameter_) && same_bytes(m_, other.m_) &&
           same_bytes(v_, other.v_);
  }
  std::string text() const {
    return detail::concat(size_.rows, size_.by_rows ? " named rows of " : " rows of ", size_.width,
                          past(size_.offset));
  }

 private:
  Shape shape(std::int64_t rows) const {
    return size_.inner > 1 ? Shape{rows, size_.inner, size_.width / size_.inner}
                           : Shape{rows, size_.width};
  }
  /// Calls one(index in the parameter, gradient) for every element that an update changes.
  template <class Function>
  void for_elements(Function one) const {
    const auto gradient = gradient_.doubles();
    for (std::int64_t j = 0; j < size_.rows; ++j) {
      const std::int64_t row = size_.by_rows ? names_.data()[j] : j;
      for (std::int64_t c = 0; row >= 0 && c < size_.width; ++c) {
        one(naive::at(row * size_.width + c), gradient[naive::at(j * size_.width + c)]);
      }
    }
  }
  template <class Args>
  Args with_options(Args args) {
    args.parameter = parameter_;
    args.m = m_;
    args.v = v_;
    args.beta1 = options_.beta1;
    args.beta2 = options_.beta2;
    args.epsilon = options_.epsilon;
    args.l2 = options_.l2;
    args.decay = options_.decay;
    if (with_rates_) {
      args.learning_rate = 1e9;  // must be ignored: the rates in memory are used
      args.rates = rates_;
    } else {
      args.learning_rate = options_.learning_rate;
      args.step = options_.step;
    }
    return args;
  }

  UpdateSize size_;
  naive::AdamOptions options_;
  Shape shape_;
  GuardedArray<T, where> parameter_, gradient_, m_, v_;
  GuardedArray<std::int32_t, where> names_;
  GuardedArray<double, where> rates_;
  bool with_rates_;
  std::vector<double> expected_parameter_, expected_m_, expected_v_;
};

/// Checks one step of Adam, or the first `count` steps, in every setting: correct values and
/// identical bits.
template <class Backend, class T>
void check_adam(const UpdateSize& size, const naive::AdamOptions& options, bool with_rates,
                int count = 1) {
  std::deque<UpdateProblem<Backend, T>> first;
  Backend::for_each_setting([&] {
    auto& problem = first.emplace_back(size, 1, options, with_rates);
    if (count > 1) problem.clear_moments();
    for (int i = 0; i < count; ++i) {
      if (count > 1) problem.set_step(i + 1);
      if (i > 0) problem.set_gradient(static_cast<std::uint64_t>(100 + i));
      problem.expect_adam();
      problem.run_adam();
    }
    problem.check_all();
    CHECK(problem.same_as(first.front()));
  });
}

/// Many parameters of both dtypes in one call, compared with separate calls.
template <class Backend>
void check_adam_many(std::span<const UpdateSize> sizes, std::size_t count) {
  Backend::for_each_setting([&] {
    std::vector<kernels::Adam> dense;
    std::vector<kernels::AdamRows> sparse;
    std::deque<UpdateProblem<Backend, float>> singles;
    std::deque<UpdateProblem<Backend, double>> doubles;
    const auto pose = [&](auto& all, std::size_t i) {
      const UpdateSize& size = sizes[i % sizes.size()];
      auto& problem = all.emplace_back(size, 10 * i, adam_options[i % 2], i % 3 == 0);
      problem.expect_adam();
      if (size.by_rows) {
        sparse.push_back(problem.adam_rows());
      } else {
        dense.push_back(problem.adam());
      }
    };
    for (std::size_t i = 0; i < count; ++i) {
      pose(singles, i);
      pose(doubles, i);
    }
    Backend::run(kernels::AdamMany{.dense = dense, .sparse = sparse});
    const auto check = [&]<class Problem>(const std::deque<Problem>& all) {
      for (std::size_t i = 0; i < count; ++i) {
        INFO("parameter " << i);
        all[i].check_all();
        Problem alone(sizes[i % sizes.size()], 10 * i, adam_options[i % 2], i % 3 == 0);
        alone.run_adam();
        CHECK(all[i].same_as(alone));
      }
    };
    check(singles);
    check(doubles);
  });
  Backend::run(kernels::AdamMany{});
}

/// Sgd with and without momentum, with rates by value and from memory.
template <class Backend, class T>
void check_sgd(const UpdateSize& size) {
  const GuardedArray<double, Backend::device> rate({1}, {0.05});
  for (const bool with_rates : {false, true}) {
    const auto run = [&]<class Args>(Args args, double momentum) {
      if constexpr (requires { args.momentum; }) args.momentum = momentum;
      args.learning_rate = with_rates ? 1e9 : 0.05;
      args.l2 = 0.1;
      if (with_rates) args.rates = rate.view();
      Backend::run(args);
    };
    std::deque<UpdateProblem<Backend, T>> moved, plain;
    Backend::for_each_setting([&] {
      if (size.by_rows) {
        auto& rows = plain.emplace_back(size, 9, adam_options[0], false);
        rows.expect_sgd(0.05, 0, 0.1);
        run(rows.sgd_rows(), 0);
        rows.check_parameter();
        CHECK(rows.same_as(plain.front()));
        return;
      }
      auto& moving = moved.emplace_back(size, 7, adam_options[0], false);
      auto& without = plain.emplace_back(size, 8, adam_options[0], false);
      for (int step = 0; step < 3; ++step) {
        moving.expect_sgd(0.05, 0.9, 0.1);
        run(moving.sgd(), 0.9);
        without.expect_sgd(0.05, 0, 0.1);
        kernels::Sgd args = without.sgd();
        args.velocity = {};
        run(args, 0);
      }
      moving.check_parameter();
      moving.check_first_moment();
      without.check_parameter();
      CHECK(moving.same_as(moved.front()));
      CHECK(without.same_as(plain.front()));
    });
  }
}

}  // namespace refrain::test
