#include "refrain/data/data_hash.hpp"

#include <array>
#include <cinttypes>
#include <cstdio>
#include <vector>

namespace refrain {

DataHash& DataHash::add(const RaggedIds& rows) {
  add(rows.rows());
  for (std::int64_t row = 0; row < rows.rows(); ++row) add(rows[row]);
  return *this;
}

DataHash& DataHash::add(const Split& split) {
  for (const std::vector<std::int64_t>* part : {&split.train, &split.valid, &split.test})
    add(std::span<const std::int64_t>(*part));
  return *this;
}

std::string DataHash::text() const {
  std::array<char, 17> digits{};
  std::snprintf(digits.data(), digits.size(), "%016" PRIx64, value());
  return digits.data();
}

}  // namespace refrain
