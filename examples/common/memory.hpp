#pragma once
/// The memory that a program may use.

#include <cstdint>

namespace refrain::examples {

/// The bytes that this process can still use: the least of what the machine, its control groups
/// (version 2) and its limit of address space leave. A limit that cannot be read is none.
std::int64_t available_memory();

}  // namespace refrain::examples
