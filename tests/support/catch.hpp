#pragma once
/// Catch2 in either major version (REFRAIN_CATCH2, from the package that CMake found; headers of
/// another version may be installed), with one spelling for the names that differ.

#include <exception>
#include <string>

#if REFRAIN_CATCH2 >= 3
#include <catch2/catch_all.hpp>
using Catch::Approx;  // NOLINT(google-global-names-in-headers): global in Catch2 2
#else
#include <catch2/catch.hpp>
#endif

namespace refrain::test {

/// Matches a string that contains `part`: CHECK_THAT(text, contains("expected")).
inline auto contains(const std::string& part) {
#if REFRAIN_CATCH2 >= 3
  return Catch::Matchers::ContainsSubstring(part);
#else
  return Catch::Matchers::Contains(part);
#endif
}

/// Matches an exception whose text contains `part`: CHECK_THROWS_MATCHES(f(), ShapeError,
/// message_contains("expected rank 3")).
inline auto message_contains(const std::string& part) {
  return Catch::Matchers::Predicate<std::exception>(
      [part](const std::exception& error) {
        return std::string(error.what()).find(part) != std::string::npos;
      },
      "has a message that contains \"" + part + "\"");
}

}  // namespace refrain::test
