#include "common/failure.hpp"

#include <cstdio>
#include <exception>
#include <new>
#include <system_error>

#include "common/concat.hpp"
#include "refrain/core/error.hpp"

namespace refrain::examples {

Failure current_failure() {
  constexpr const char* less_memory = "; a smaller --batch or --length reduces memory use";
  try {
    throw;
  } catch (const Error& error) {
    return {.text = error.what()};
  } catch (const OutOfMemory& error) {
    return {.text = concat(error.what(), less_memory)};
  } catch (const std::bad_alloc&) {
    return {.text = concat("out of memory", less_memory)};
  } catch (const std::exception& error) {
    // On a full disk fmt throws.
    const auto* system = dynamic_cast<const std::system_error*>(&error);
    if (system != nullptr && std::ferror(stdout) != 0)
      return {.text = {}, .output_error = system->code().value()};
    return {.text = concat("unexpected error: ", error.what()), .code = 2};
  }
}

}  // namespace refrain::examples
