#pragma once
/// Numbers formatted for people.

#include <cstdint>
#include <string>

#include "refrain/core/export.hpp"

namespace refrain {

/// The number with thousands separators: 1234567 -> "1,234,567".
REFRAIN_API std::string with_commas(std::int64_t number);

/// A count with its noun: "1 epoch", "12 epochs", "1,234 epochs".
REFRAIN_API std::string counted(std::int64_t count, const char* noun);

}  // namespace refrain
