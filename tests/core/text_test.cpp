/// Numbers in texts, independent of the locale.

#include <limits>
#include <locale>
#include <sstream>
#include <string>
#include <string_view>

#include "refrain/core/error.hpp"
#include "support/catch.hpp"
#include "support/tensors.hpp"

using namespace refrain;
using namespace refrain::test;

TEST_CASE("error: numbers in texts and files do not depend on the program's locale", "[core]") {
  struct Grouped : std::numpunct<char> {
    char do_thousands_sep() const override { return '.'; }
    std::string do_grouping() const override { return "\3"; }
    char do_decimal_point() const override { return ','; }
  };
  const std::locale before = std::locale::global(std::locale(std::locale::classic(), new Grouped));
  std::ostringstream here;
  here << 12345;
  const std::string text = detail::concat(12345, " ", 0.5, " ", Shape{1000, 2});
  std::locale::global(before);
  CHECK(here.str() == "12.345");
  CHECK(text == "12345 0.5 [1000, 2]");
}

/// The output of a stream in the classic locale.
template <class... Parts>
std::string printed(const Parts&... parts) {
  std::ostringstream out;
  out.imbue(std::locale::classic());
  (out << ... << parts);
  return out.str();
}

TEST_CASE("error: texts equal the output of a stream with the classic locale", "[core]") {
  const auto check = [](const auto& part) { CHECK(detail::concat(part) == printed(part)); };
  for (const double number :
       {0.0, -0.0, 1.0, -1.5, 0.1, 1e-7, 123456.0, 1234567.0, 1e300, -1e-300, 5e-324,
        std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity(),
        std::numeric_limits<double>::quiet_NaN()}) {
    check(number);
    check(static_cast<float>(number));
  }
  check(std::numeric_limits<std::int64_t>::min());
  check(std::numeric_limits<std::uint64_t>::max());
  check(std::numeric_limits<int>::min());
  check(short{-3});
  check(true);
  check('x');
  check(std::string("a\0b", 3));
  check(std::string_view());
  check("text");
  check(static_cast<const void*>(&check));
  check(Shape{2, 3});
  check(DType::i64);
  check(Device::cpu);
  CHECK(detail::concat() == "");
  CHECK(detail::concat("expected ", Shape{}, ", got ", 3, std::string(", and "), 'c') ==
        "expected [], got 3, and c");
}
