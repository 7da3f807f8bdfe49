#pragma once
/// Fingerprints of data.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "refrain/core/detail/xxh64.hpp"
#include "refrain/core/export.hpp"
#include "refrain/data/splits.hpp"
#include "refrain/data/vocabulary.hpp"

namespace refrain {

/// A hash over pieces of data and the boundaries between them.
class REFRAIN_API DataHash {
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
  DataHash& add(const RaggedIds& rows);
  DataHash& add(const Split& split);
  DataHash& add(const Vocabulary& vocabulary) {
    return add(std::string_view(vocabulary.serialize()));
  }

  std::uint64_t value() const noexcept { return hash_.digest(); }
  /// The hash as 16 hexadecimal digits.
  std::string text() const;

 private:
  refrain::detail::Xxh64 hash_;
};

}  // namespace refrain
