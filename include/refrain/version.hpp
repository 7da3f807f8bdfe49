#pragma once
/// The version of Refrain. The build reads its version from these lines.

#include "refrain/core/export.hpp"

#define REFRAIN_VERSION_MAJOR 0
#define REFRAIN_VERSION_MINOR 1
#define REFRAIN_VERSION_PATCH 0

/// The version of the headers as one number: 100 for 0.1.0, 10203 for 1.2.3.
#define REFRAIN_VERSION \
  (REFRAIN_VERSION_MAJOR * 10000 + REFRAIN_VERSION_MINOR * 100 + REFRAIN_VERSION_PATCH)

namespace refrain {

/// The version of the library that the program is linked to, such as "0.1.0". It may differ from
/// the version of the headers only in the last number.
REFRAIN_API const char* version() noexcept;

}  // namespace refrain
