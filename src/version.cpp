#include "refrain/version.hpp"

#define REFRAIN_TEXT_OF(number) #number
#define REFRAIN_TEXT(number) REFRAIN_TEXT_OF(number)

namespace refrain {

const char* version() noexcept {
  return REFRAIN_TEXT(REFRAIN_VERSION_MAJOR) "." REFRAIN_TEXT(
      REFRAIN_VERSION_MINOR) "." REFRAIN_TEXT(REFRAIN_VERSION_PATCH);
}

}  // namespace refrain
