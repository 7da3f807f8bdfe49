#pragma once
/// The CPU backend's memory: a caching pool of 64-byte aligned blocks.

#include "refrain/core/device.hpp"

namespace refrain::cpu {

void* allocate(std::size_t bytes);
void release(void* block, std::size_t bytes) noexcept;
PoolStats stats();
void reset_peak();
void trim();

}  // namespace refrain::cpu
