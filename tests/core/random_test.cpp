/// Random numbers.

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "refrain/core/random.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

using namespace refrain;
using namespace refrain::test;

TEST_CASE("random: Philox gives the published numbers", "[core][random]") {
  using Words = std::array<std::uint32_t, 4>;
  // Random123 1.x, kat_vectors, philox4x32 with 10 rounds: counter words 0 1 2 3, key words 0 1.
  CHECK(philox(0, 0, 0) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  const std::uint64_t ones = ~std::uint64_t{0};
  CHECK(philox(ones, ones, ones) == Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  // Counter 243f6a88 85a308d3 13198a2e 03707344, key a4093822 299f31d0: the digits of pi.
  CHECK(philox(0x299f31d0a4093822, 0x0370734413198a2e, 0x85a308d3243f6a88) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("random: scalars use one block each, a stored state resumes", "[core][random]") {
  Random random(3, 4);
  CHECK(random.bits() == philox(3, 4, 0)[0]);
  random.uniform();
  random.normal();
  CHECK(random.state().position == 3);
  Random resumed(random.state());
  for (int i = 0; i < 10; ++i) CHECK(random.uniform() == resumed.uniform());
  CHECK(Random(3).split(1).bits() != Random(3).split(2).bits());
  CHECK(Random(3).split(1).bits() == Random(3).split(1).bits());
}

namespace {

struct Moments {
  double mean, variance, smallest, largest;
};

Moments moments(const Tensor& tensor) {
  const auto values = doubles(tensor);
  const double count = static_cast<double>(values.size());
  Moments m{0, 0, values[0], values[0]};
  for (const double value : values) {
    m.mean += value / count;
    m.smallest = std::min(m.smallest, value);
    m.largest = std::max(m.largest, value);
  }
  for (const double value : values) m.variance += (value - m.mean) * (value - m.mean) / count;
  return m;
}

}  // namespace

TEST_CASE("random: uniform, normal and truncated normal have their moments", "[core][random]") {
  const std::int64_t count = 200000;
  const double error =
      5 /
      std::sqrt(static_cast<double>(count));  // five standard errors of a mean with unit deviation
  Tensor tensor({count}, DType::f64);
  Random random(11);
  random.fill_uniform(tensor, -1, 3);
  const Moments uniform = moments(tensor);
  CHECK(std::abs(uniform.mean - 1) < error * std::sqrt(16.0 / 12));
  CHECK(std::abs(uniform.variance - 16.0 / 12) <
        error * 1.2);  // deviation of (x - 1)^2: 16 / sqrt(180)
  CHECK(uniform.smallest >= -1);
  CHECK(uniform.largest < 3);
  CHECK(uniform.smallest < -0.99);
  CHECK(uniform.largest > 2.99);

  random.fill_normal(tensor, 2);
  const Moments normal = moments(tensor);
  CHECK(std::abs(normal.mean) < error * 2);
  CHECK(std::abs(normal.variance - 4) < error * 4 * std::sqrt(2.0));
  CHECK(normal.largest > 7);
  const auto values = doubles(tensor);
  const auto within_one =
      std::count_if(values.begin(), values.end(), [](double v) { return std::abs(v) < 2; });
  CHECK(std::abs(static_cast<double>(within_one) / static_cast<double>(count) - 0.6826894921) <
        error * 0.466);

  random.fill_truncated_normal(tensor, 1);
  const Moments truncated = moments(tensor);
  CHECK(std::abs(truncated.mean) < error);
  CHECK(std::abs(truncated.variance - 0.7737413035) < error);  // 1 - 4 phi(2) / (2 Phi(2) - 1)
  CHECK(truncated.smallest >= -2);
  CHECK(truncated.largest <= 2);
  CHECK(truncated.largest > 1.99);
}

TEST_CASE("random: scalar draws follow the same laws", "[core][random]") {
  Random random(12);
  std::array<int, 7> seen{};
  for (int i = 0; i < 70000; ++i) ++seen[static_cast<std::size_t>(random.below(7))];
  double chi_squared = 0;
  for (const int times : seen) chi_squared += (times - 10000.0) * (times - 10000.0) / 10000.0;
  CHECK(chi_squared < 30);  // six degrees of freedom: exceeded with probability 4e-5
  double largest = 0;
  for (int i = 0; i < 10000; ++i)
    largest = std::max(largest, std::abs(random.truncated_normal(0.5)));
  CHECK(largest <= 1);
  CHECK(largest > 0.99);
  CHECK_THROWS_AS(random.below(0), OptionError);
  std::vector<int> order{0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  const std::vector<int> sorted = order;
  random.shuffle(order);
  CHECK(order != sorted);
  std::sort(order.begin(), order.end());
  CHECK(order == sorted);
}

TEMPLATE_TEST_CASE("random: fills do not depend on the number of threads or on their division",
                   "[core][random][determinism]", float, double) {
  using T = TestType;
  const Shape shape{50021};
  same_for_any_threads([&] {
    std::vector<Tensor> filled;
    Random random(5);
    for (int i = 0; i < 3; ++i) filled.emplace_back(shape, dtype_of<T>);
    random.fill_uniform(filled[0], -1, 1);
    random.fill_normal(filled[1]);
    random.fill_truncated_normal(filled[2], 0.02);
    CHECK(random.state().position == 3 * 50021);
    return filled;
  });
  Tensor whole({100}, dtype_of<T>), parts({100}, dtype_of<T>);
  Random a(6), b(6);
  a.fill_normal(whole);
  Tensor first = parts.slice(0, 37), second = parts.slice(37, 100);
  b.fill_normal(first);
  b.fill_normal(second);
  CHECK(same_bytes(whole, parts));
  Tensor ids({3}, DType::i32);
  CHECK_THROWS_AS(a.fill_normal(ids), DTypeError);
}
