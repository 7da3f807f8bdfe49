#pragma once
/// Sizes of a memory, and the offsets of the parts of its interface vector; the same on every
/// device.

#include <cstdint>

#include "refrain/kernels/memory.hpp"

namespace refrain::kernels {

struct MemorySizes {
  explicit MemorySizes(const MemoryViews<View>& memory)
      : batch(memory.words.shape[0]),
        words(memory.words.shape[1]),
        width(memory.words.shape[2]),
        heads(memory.read_weightings.shape[1]) {}

  std::int64_t batch;
  std::int64_t words;
  std::int64_t width;
  std::int64_t heads;
};

struct InterfaceLayout {
  explicit InterfaceLayout(const MemorySizes& sizes)
      : read_strengths(sizes.heads * sizes.width),
        write_key(read_strengths + sizes.heads),
        write_strength(write_key + sizes.width),
        erase(write_strength + 1),
        write_vector(erase + sizes.width),
        free_gates(write_vector + sizes.width),
        allocation_gate(free_gates + sizes.heads),
        write_gate(allocation_gate + 1),
        read_modes(write_gate + 1),
        size(read_modes + 3 * sizes.heads) {}

  static constexpr std::int64_t read_keys = 0;
  std::int64_t read_strengths;
  std::int64_t write_key;
  std::int64_t write_strength;
  std::int64_t erase;
  std::int64_t write_vector;
  std::int64_t free_gates;
  std::int64_t allocation_gate;
  std::int64_t write_gate;
  std::int64_t read_modes;
  std::int64_t size;
};

}  // namespace refrain::kernels
