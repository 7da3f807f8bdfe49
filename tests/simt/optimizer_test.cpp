/// Parameter updates on CUDA, emulated, against loops over single numbers in double.

#include <deque>

#include "refrain/kernels/optimizer.hpp"
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

const naive::AdamOptions adam_options[] = {{1e-2, 0.9, 0.999, 1e-8, 0, 0, 1},
                                           {3e-3, 0.8, 0.95, 1e-4, 0.02, 0.1, 7}};

/// What a recorded step would find in device memory for these options.
std::vector<double> rates_of(const naive::AdamOptions& o) {
  return {o.learning_rate, 1 / (1 - std::pow(o.beta1, o.step)),
          1 / (1 - std::pow(o.beta2, o.step))};
}

/// One parameter to change: dense, or by rows 1, 3, 5, ... in falling order with every fourth left
/// out.
struct UpdateSize {
  bool by_rows;
  std::int64_t rows;  ///< of the gradient
  std::int64_t width;
  int offset;
};

/// Nothing; one; around a pack; around a block's piece of 1,024; several blocks; off a multiple of
/// 16 bytes.
const UpdateSize dense_update_sizes[] = {
    {false, 0, 5, 0},    {false, 1, 1, 0},    {false, 1, 3, 0},
    {false, 1, 4, 1},    {false, 1, 1023, 0}, {false, 1, 1024, 0},
    {false, 1, 1025, 1}, {false, 5, 1021, 0}, {false, 2, 1200, 1}};
/// The same for rows: teams of one thread up to a block, rows longer than a pass of it.
const UpdateSize row_update_sizes[] = {{true, 0, 5, 0},    {true, 5, 0, 0},   {true, 1, 1, 0},
                                       {true, 70, 1, 0},   {true, 40, 4, 0},  {true, 33, 5, 0},
                                       {true, 70, 20, 0},  {true, 70, 20, 1}, {true, 9, 257, 0},
                                       {true, 3, 1100, 0}, {true, 3, 301, 1}};

/// A parameter, its gradient and moments on the device, and what a loop in double makes of them.
template <class T>
class Posed {
 public:
  Posed(const UpdateSize& size, std::uint64_t seed, const naive::AdamOptions& options,
        bool with_rates)
      : size_(size),
        options_(options),
        shape_{size.by_rows ? 2 * size.rows + 2 : size.rows, size.width},
        parameter_(random_array<T>(shape_, seed, 1, size.offset)),
        gradient_(random_array<T>({size.rows, size.width}, seed + 1, 1, size.offset)),
        m_(random_array<T>(shape_, seed + 2, 1, size.offset)),
        v_(random_array<T>(shape_, seed + 3, 1, size.offset)),
        names_({size.rows}),
        rates_({3}, rates_of(options)),
        with_rates_(with_rates) {
    for (std::int64_t i = 0; i < shape_.numel(); ++i)
      v_.data()[i] = v_.data()[i] * v_.data()[i] + T{1} / 4;
    for (std::int64_t j = 0; j < size.rows; ++j) {
      names_.data()[j] = j % 4 == 3 ? -1 : static_cast<std::int32_t>(2 * (size.rows - j) + 1);
    }
    expected_parameter_ = parameter_.doubles();
    expected_m_ = m_.doubles();
    expected_v_ = v_.doubles();
  }

  /// Calls one(place in the parameter, gradient) for every element that an update changes.
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

  kernels::Adam adam() { return with_options(kernels::Adam{.gradient = gradient_.view()}); }
  kernels::AdamRows adam_rows() {
    return with_options(kernels::AdamRows{.rows = names_.view(), .values = gradient_.view()});
  }
  kernels::Sgd sgd() {
    return {.parameter = parameter_.mutable_view(),
            .gradient = gradient_.view(),
            .velocity = m_.mutable_view()};
  }
  kernels::SgdRows sgd_rows() {
    return {
        .parameter = parameter_.mutable_view(), .rows = names_.view(), .values = gradient_.view()};
  }

  void check_parameter() const {
    check_close<T>(parameter_.span(), expected_parameter_, tolerance::element<T>);
  }
  void check_first_moment() const { check_close<T>(m_.span(), expected_m_, tolerance::element<T>); }
  void check_moments() const {
    check_first_moment();
    check_close<T>(v_.span(), expected_v_, tolerance::element<T>);
  }
  std::string text() const {
    return detail::concat(size_.rows, size_.by_rows ? " named rows of " : " rows of ", size_.width,
                          ", ", size_.offset, " past a multiple of 16 bytes");
  }

 private:
  template <class Args>
  Args with_options(Args args) {
    args.parameter = parameter_.mutable_view();
    args.m = m_.mutable_view();
    args.v = v_.mutable_view();
    args.beta1 = options_.beta1;
    args.beta2 = options_.beta2;
    args.epsilon = options_.epsilon;
    args.l2 = options_.l2;
    args.decay = options_.decay;
    if (with_rates_) {
      args.learning_rate = 1e9;  // the rates in memory count
      args.rates = rates_.view();
    } else {
      args.learning_rate = options_.learning_rate;
      args.step = options_.step;
    }
    return args;
  }

  UpdateSize size_;
  naive::AdamOptions options_;
  Shape shape_;
  DeviceArray<T> parameter_, gradient_, m_, v_;
  DeviceArray<std::int32_t> names_;
  DeviceArray<double> rates_;
  bool with_rates_;
  std::vector<double> expected_parameter_, expected_m_, expected_v_;
};

}  // namespace

TEMPLATE_TEST_CASE("cuda adam: the naive loop, with rates by value and from memory",
                   "[simt][optimizer]", float, double) {
  using T = TestType;
  for (const UpdateSize& size : dense_update_sizes) {
    for (const bool with_rates : {false, true}) {
      for_each_order([&] {
        Posed<T> posed(size, 1, adam_options[with_rates ? 0 : 1], with_rates);
        INFO(posed.text());
        posed.expect_adam();
        run_emulated(posed.adam());
        posed.check_parameter();
        posed.check_moments();
      });
    }
  }
}

TEMPLATE_TEST_CASE("cuda adam_rows: moves the named rows alone", "[simt][optimizer]", float,
                   double) {
  using T = TestType;
  for (const UpdateSize& size : row_update_sizes) {
    for (const bool with_rates : {false, true}) {
      for_each_order([&] {
        Posed<T> posed(size, 5, adam_options[with_rates ? 0 : 1], with_rates);
        INFO(posed.text());
        posed.expect_adam();
        run_emulated(posed.adam_rows());
        posed.check_parameter();
        posed.check_moments();
      });
    }
  }
}

TEST_CASE("cuda adam_many: every parameter as alone, more than a launch takes, of both types",
          "[simt][optimizer]") {
  // 70 parameters of each type: three launches in f32, five in f64, the last ones not full.
  for_each_order([&] {
    std::deque<Posed<float>> singles;
    std::deque<Posed<double>> doubles;
    std::vector<kernels::Adam> dense;
    std::vector<kernels::AdamRows> sparse;
    const auto pose = [&](auto& all, std::size_t i) {
      const std::size_t kinds = std::size(dense_update_sizes) + std::size(row_update_sizes);
      const std::size_t kind = i % kinds;
      const UpdateSize& size = kind < std::size(dense_update_sizes)
                                   ? dense_update_sizes[kind]
                                   : row_update_sizes[kind - std::size(dense_update_sizes)];
      auto& posed = all.emplace_back(size, 10 * i, adam_options[i % 2], i % 3 == 0);
      posed.expect_adam();
      if (size.by_rows) {
        sparse.push_back(posed.adam_rows());
      } else {
        dense.push_back(posed.adam());
      }
    };
    for (std::size_t i = 0; i < 70; ++i) {
      pose(singles, i);
      pose(doubles, i);
    }
    run_emulated<kernels::AdamMany>({.dense = dense, .sparse = sparse});
    const auto check = [](const auto& all) {
      for (const auto& posed : all) {
        INFO(posed.text());
        posed.check_parameter();
        posed.check_moments();
      }
    };
    check(singles);
    check(doubles);
  });
  run_emulated<kernels::AdamMany>({});

  DeviceArray<std::int32_t> integers({3});
  DeviceArray<float> numbers({3}, {1, 2, 3});
  const kernels::Adam refused[] = {{.parameter = numbers.mutable_view(),
                                    .gradient = numbers.view(),
                                    .m = numbers.mutable_view(),
                                    .v = numbers.mutable_view()},
                                   {.parameter = integers.mutable_view()}};
  CHECK_THROWS_MATCHES(run_emulated<kernels::AdamMany>({.dense = refused}), DTypeError,
                       message_contains("adam_many: expected f32 or f64, got i32"));
  CHECK(numbers.doubles() == std::vector<double>{1, 2, 3});
}

TEMPLATE_TEST_CASE("cuda sgd: with and without momentum, by rows, rates by value and from memory",
                   "[simt][optimizer]", float, double) {
  using T = TestType;
  const DeviceArray<double> rate({1}, {0.05});
  for (const bool with_rates : {false, true}) {
    const auto run = [&]<class Args>(Args args, double momentum) {
      if constexpr (requires { args.momentum; }) args.momentum = momentum;
      args.learning_rate = with_rates ? 1e9 : 0.05;
      args.l2 = 0.1;
      if (with_rates) args.rates = rate.view();
      run_emulated(args);
    };
    for (const UpdateSize& size : dense_update_sizes) {
      for_each_order([&] {
        Posed<T> moving(size, 7, adam_options[0], false), plain(size, 8, adam_options[0], false);
        INFO(moving.text());
        moving.expect_sgd(0.05, 0.9, 0.1);
        run(moving.sgd(), 0.9);
        moving.check_parameter();
        moving.check_first_moment();

        plain.expect_sgd(0.05, 0, 0.1);
        kernels::Sgd args = plain.sgd();
        args.velocity = {};
        run(args, 0);
        plain.check_parameter();
      });
    }
    for (const UpdateSize& size : row_update_sizes) {
      for_each_order([&] {
        Posed<T> posed(size, 9, adam_options[0], false);
        INFO(posed.text());
        posed.expect_sgd(0.05, 0, 0.1);
        run(posed.sgd_rows(), 0);
        posed.check_parameter();
      });
    }
  }
}

TEMPLATE_TEST_CASE("cuda clip_factor: the norm, and what brings it to the limit",
                   "[simt][optimizer]", float, double) {
  using T = TestType;
  const auto run = [](const std::vector<T>& squares, double max_norm) {
    const DeviceArray<T> given({static_cast<std::int64_t>(squares.size())}, squares);
    DeviceArray<T> norm({1}), factor({1});
    run_emulated<kernels::ClipFactor>({.squares = given.view(),
                                       .norm = norm.mutable_view(),
                                       .factor = factor.mutable_view(),
                                       .max_norm = max_norm});
    return std::vector<double>{norm.data()[0], factor.data()[0]};
  };
  for_each_order([&] {
    CHECK(run({}, 1) == std::vector<double>{0, 1});
    CHECK(run({T{9}, T{16}}, 5) == std::vector<double>{5, 1});  // at the limit
    CHECK(run({T{9}, T{16}}, 2.5) == std::vector<double>{5, 0.5});
    const double infinity = std::numeric_limits<double>::infinity();
    CHECK(run({T{1}, static_cast<T>(infinity)}, 1) == std::vector<double>{infinity, 1});
    const auto unknown = run({T{100}, static_cast<T>(NAN)}, 1);
    CHECK(std::isnan(unknown[0]));
    CHECK(unknown[1] == 1);
    // Added in double: a sum in float would lose the ones.
    std::vector<T> many(700, T{1});
    many[3] = T{1} * (1 << 25);
    check_close<double>(
        std::span<const double>(run(many, 1)),
        std::vector<double>{std::sqrt((1 << 25) + 699.0), 1 / std::sqrt((1 << 25) + 699.0)},
        {2e-7, 0});
  });
}
