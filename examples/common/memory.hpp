#pragma once
/// The memory that a program may use.

#include <cstdint>

namespace refrain::examples {

/// The bytes that this process can still use: the least of the machine's available memory, what its
/// control group (version 2) leaves, and its limit of address space. A limit that cannot be read is
/// none.
std::int64_t available_memory();

}  // namespace refrain::examples
