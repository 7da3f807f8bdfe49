#pragma once
/// Telling data apart.

#include <fmt/format.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "refrain/core/detail/xxh64.hpp"
#include "refrain/data/splits.hpp"
#include "refrain/data/vocabulary.hpp"

namespace refrain::examples {

/// A hash over pieces of data; where one ends and the next begins counts.
class DataHash {
 public:
  DataHash& add(std::int64_t number) {
    hash_.update(&number, sizeof number);
    return *this;
  }
  DataHash& add(std::string_view text) {
    add(static_cast<std::int64_t>(text.size()));
    hash_.update(text.data(), text.size());
    return *this;
  }
  template <class Number>
  DataHash& add(std::span<const Number> numbers) {
    add(static_cast<std::int64_t>(numbers.size()));
    hash_.update(numbers.data(), numbers.size_bytes());
    return *this;
  }
  DataHash& add(const RaggedIds& rows) {
    add(rows.rows());
    for (std::int64_t row = 0; row < rows.rows(); ++row) add(rows[row]);
    return *this;
  }
  DataHash& add(const Split& split) {
    for (const std::vector<std::int64_t>* part : {&split.train, &split.valid, &split.test}) {
      add(std::span<const std::int64_t>(*part));
    }
    return *this;
  }
  DataHash& add(const Vocabulary& vocabulary) {
    return add(std::string_view(vocabulary.serialize()));
  }

  std::uint64_t value() const noexcept { return hash_.digest(); }
  /// Sixteen hexadecimal digits.
  std::string text() const { return fmt::format("{:016x}", value()); }

 private:
  refrain::detail::Xxh64 hash_;
};

}  // namespace refrain::examples
