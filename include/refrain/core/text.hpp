#pragma once
/// Numbers as people read them.

#include <cstdint>
#include <string>

#include "refrain/core/export.hpp"

namespace refrain {

/// 1234567 -> "1,234,567"
REFRAIN_API std::string with_commas(std::int64_t number);

/// "1 epoch", "12 epochs", "1,234 epochs".
REFRAIN_API std::string counted(std::int64_t count, const char* noun);

}  // namespace refrain
