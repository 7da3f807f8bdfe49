#pragma once
/// Memory steps as the emulated CUDA entries take them, and what the loops of naive_memory.hpp make
/// of them.

#include <array>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "refrain/kernels/memory.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/guarded_array.hpp"
#include "support/naive_memory_batch.hpp"
#include "support/simt/run_emulated.hpp"

namespace refrain::test::memory_steps {

namespace cuda = kernels::cuda;

constexpr std::size_t parts = naive::memory_parts;

struct MemorySize : naive::MemoryBatchSize {
  int offset;  ///< elements past a multiple of 16 bytes where the old memory's tensors start
};

/// None, one of each, primes, fewer words than warps and more, words around a warp's lanes, more
/// than one group of heads, several tiles of links, whole groups of 16 bytes.
inline const MemorySize memory_sizes[] = {{0, 3, 2, 1, 0},  {1, 1, 1, 1, 0},  {2, 1, 5, 3, 0},
                                          {3, 5, 1, 2, 0},  {2, 7, 11, 5, 1}, {1, 12, 16, 1, 0},
                                          {1, 8, 33, 2, 1}, {1, 50, 3, 1, 0}};

template <class T>
using Arrays = std::vector<DeviceArray<T>>;

template <class T>
std::array<View, parts> views(const Arrays<T>& arrays) {
  std::array<View, parts> out{};
  for (std::size_t i = 0; i < parts; ++i) out[i] = arrays[i].view();
  return out;
}
template <class T>
std::array<MutableView, parts> mutable_views(Arrays<T>& arrays) {
  std::array<MutableView, parts> out{};
  for (std::size_t i = 0; i < parts; ++i) out[i] = arrays[i].mutable_view();
  return out;
}
template <class V>
kernels::MemoryViews<V> memory_of(const std::array<V, parts>& v) {
  return {v[0], v[1], v[2], v[3], v[4], v[5]};
}

/// A memory in the middle of its life: weightings that sum to less than one, no link from a word to
/// itself.
template <class T>
Arrays<T> lived_in(const MemorySize& size) {
  Arrays<T> memory;
  const auto shapes = size.shapes();
  for (std::size_t i = 0; i < parts; ++i) {
    memory.push_back(random_array<T>(shapes[i], 10 + i, 1, size.offset));
    if (i == 0) continue;
    Random random(20 + i);
    const double most = i == 1 ? 1 : 1 / static_cast<double>(size.words);
    for (std::int64_t e = 0; e < shapes[i].numel(); ++e)
      memory[i].data()[e] = static_cast<T>(most * random.uniform());
  }
  for (std::int64_t b = 0; b < size.batch; ++b) {
    for (std::int64_t n = 0; n < size.words; ++n)
      memory[3].data()[(b * size.words + n) * size.words + n] = 0;
  }
  return memory;
}

template <class T>
Arrays<T> empty_arrays(const MemorySize& size) {
  Arrays<T> out;
  for (const Shape& shape : size.shapes()) out.emplace_back(shape);
  return out;
}

template <class T>
Arrays<T> random_gradients(const MemorySize& size) {
  Arrays<T> out;
  std::uint64_t seed = 30;
  for (const Shape& shape : size.shapes()) out.push_back(random_array<T>(shape, seed++));
  return out;
}

template <class T>
kernels::MemoryStepForward forward_args(const DeviceArray<T>& interface, const Arrays<T>& before,
                                        Arrays<T>& after) {
  return {.interface = interface.view(),
          .before = memory_of(views(before)),
          .after = memory_of(mutable_views(after)),
          .read_vectors = after[6].mutable_view()};
}

template <class T>
Arrays<T> step(const MemorySize& size, const DeviceArray<T>& interface, const Arrays<T>& before) {
  Arrays<T> after = empty_arrays<T>(size);
  run_emulated(forward_args(interface, before, after));
  return after;
}

/// `to`: the interface vector's gradient, then those of the parts of the memory before.
template <class T>
kernels::MemoryStepBackward backward_args(const DeviceArray<T>& interface, const Arrays<T>& before,
                                          const Arrays<T>& after,
                                          const std::array<View, parts>& dafter,
                                          const std::array<MutableView, parts>& to) {
  return {.interface = interface.view(),
          .before = memory_of(views(before)),
          .after = memory_of(views(after)),
          .dafter = memory_of(dafter),
          .dread_vectors = dafter[6],
          .dinterface = to[0],
          .dbefore = {to[1], to[2], to[3], to[4], to[5], to[6]}};
}

template <class T>
Arrays<T> empty_gradients(const MemorySize& size) {
  Arrays<T> out;
  out.emplace_back(size.interface());
  const auto shapes = size.shapes();
  for (std::size_t i = 0; i + 1 < parts; ++i) out.emplace_back(shapes[i]);
  return out;
}

template <class T>
Arrays<T> step_back(const MemorySize& size, const DeviceArray<T>& interface,
                    const Arrays<T>& before, const Arrays<T>& after, const Arrays<T>& dafter) {
  Arrays<T> out = empty_gradients<T>(size);
  run_emulated(backward_args(interface, before, after, views(dafter), mutable_views(out)));
  return out;
}

template <class T>
naive::MemoryParts doubles(const Arrays<T>& arrays) {
  naive::MemoryParts out;
  for (std::size_t i = 0; i < parts; ++i) out[i] = arrays[i].doubles();
  return out;
}

template <class T>
naive::MemoryParts expected_step(const MemorySize& size, const DeviceArray<T>& interface,
                                 const Arrays<T>& before) {
  return naive::memory_step(size, interface.doubles(), doubles(before));
}

template <class T>
naive::MemoryParts expected_gradients(const MemorySize& size, const DeviceArray<T>& interface,
                                      const Arrays<T>& before, const Arrays<T>& dafter) {
  return naive::memory_gradients(size, interface.doubles(), doubles(before), doubles(dafter));
}

template <class T>
void check_parts(const Arrays<T>& got, const naive::MemoryParts& expected) {
  for (std::size_t i = 0; i < parts; ++i) {
    INFO("part " << i);
    check_close<T>(got[i].span(), expected[i], tolerance::sum<T>);
  }
}

template <class T>
bool same_parts(const Arrays<T>& a, const Arrays<T>& b) {
  for (std::size_t i = 0; i < parts; ++i) {
    if (!same_bytes(a[i], b[i])) return false;
  }
  return true;
}

template <class T>
bool all_finite(const Arrays<T>& arrays) {
  for (const DeviceArray<T>& array : arrays) {
    for (const T value : array.span()) {
      if (!std::isfinite(value)) return false;
    }
  }
  return true;
}

/// Where the parts of one interface vector begin.
struct Layout {
  explicit Layout(const MemorySize& s)
      : write_key(s.heads * s.width + s.heads),
        write_strength(write_key + s.width),
        erase(write_strength + 1),
        free_gates(erase + 2 * s.width),
        allocation_gate(free_gates + s.heads),
        write_gate(allocation_gate + 1),
        modes(write_gate + 1) {}
  std::int64_t write_key, write_strength, erase, free_gates, allocation_gate, write_gate, modes;
};

template <class T>
void set(DeviceArray<T>& interface, std::int64_t begin, std::int64_t count, double value) {
  const Shape shape = interface.view().shape;
  for (std::int64_t b = 0; b < shape[0]; ++b) {
    std::fill_n(interface.data() + b * shape[1] + begin, count, static_cast<T>(value));
  }
}

}  // namespace refrain::test::memory_steps
