#pragma once
/// The emulation side of kernels/simt.hpp; the GPU side is kernels/simt_cuda.hpp, which documents
/// each name.

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "support/simt/cuda_names.hpp"
#include "support/simt/machine.hpp"
#include "support/simt/sanitizers.hpp"

/// The type of a lambda identifies each array.
#define REFRAIN_SHARED_ARRAY(T, name, count) \
  auto& name = ::refrain::simt::emulation::fixed_shared_array<T, (count)>([] {})
#define REFRAIN_UNROLL

namespace refrain::simt {
namespace emulation {

template <class T, std::size_t count, class Tag>
T (&fixed_shared_array(Tag, REFRAIN_SITE))
[count] {
  static const char key = 0;
  return *static_cast<T(*)[count]>(shared_array(&key, 0, sizeof(T) * count, site));
}

template <class T>
void check_aligned(const T* address, const char* operation, const Site& site) {
  if (reinterpret_cast<std::uintptr_t>(address) % 16 != 0) {
    fail(refrain::detail::concat(operation, ": the address is not a multiple of 16"), site);
  }
}

/// One lane's registers of both factors.
struct Fragments {
  std::uint32_t a[4];
  std::uint32_t b[2];
};

inline Fragments fragments_of(const Deposits& all, unsigned lane) {
  Fragments fragments;
  std::memcpy(&fragments, all[lane].data(), sizeof fragments);
  return fragments;
}

/// The 16 bits of a bf16 as a float.
inline float bf16(std::uint32_t pair, unsigned half) {
  return std::bit_cast<float>((pair >> (16 * half)) << 16);
}

}  // namespace emulation

inline namespace emulated {

// ---- shared memory ----

class SharedCarver {
 public:
  template <class T>
  T* take(int count, REFRAIN_SITE) {
    const std::size_t at = used_bytes_;
    const std::size_t bytes = static_cast<std::size_t>(count) * sizeof(T);
    used_bytes_ = (at + bytes + 15) / 16 * 16;
    return static_cast<T*>(emulation::shared_array(nullptr, at, bytes, site));
  }

 private:
  std::size_t used_bytes_ = 0;
};

// ---- 16 bytes at once ----

template <class T>
struct alignas(16) Pack {
  static constexpr int count = 16 / static_cast<int>(sizeof(T));
  T at[16 / sizeof(T)];
};

template <class T>
Pack<T> load_pack(const T* from, REFRAIN_SITE) {
  emulation::check_aligned(from, "load_pack", site);
  return *reinterpret_cast<const Pack<T>*>(from);
}

template <class T>
void store_pack(T* to, const Pack<T>& pack, REFRAIN_SITE) {
  emulation::check_aligned(to, "store_pack", site);
  *reinterpret_cast<Pack<T>*>(to) = pack;
}

// ---- asynchronous copies ----

template <int bytes>
void copy_async(void* to, const void* from, bool valid = true, REFRAIN_SITE) {
  static_assert(bytes == 4 || bytes == 8 || bytes == 16);
  emulation::copy_async(to, valid ? from : nullptr, bytes, site);
}
inline void commit_copies() { emulation::commit_copies(); }
template <int left>
void wait_copies() {
  emulation::wait_copies(left);
}

// ---- tensor cores ----

inline std::uint32_t to_tf32(float value) {
  return (std::bit_cast<std::uint32_t>(value) + 0x1000u) & 0xffffe000u;
}

inline std::uint32_t to_bf16x2(float low, float high) {
  const auto rounded = [](float value) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
    if (value != value) return bits >> 16 | 0x40u;
    return (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
  };
  return rounded(low) | rounded(high) << 16;
}

inline void mma_tf32(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
                     REFRAIN_SITE) {
  emulation::Fragments own;
  std::memcpy(own.a, a, sizeof own.a);
  std::memcpy(own.b, b, sizeof own.b);
  const emulation::Deposits& all =
      emulation::exchange("mma_tf32", ~0u, &own, sizeof own, false, site);
  const emulation::Overlook overlook;
  const unsigned g = emulation::current_lane() / 4;
  const unsigned q = emulation::current_lane() % 4;
  const auto number = [](std::uint32_t bits) {
    return std::bit_cast<float>(bits & 0xffffe000u);
  };  // the rest is ignored
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned column = 2 * q + i % 2;
    for (unsigned k = 0; k < 8; ++k) {
      const float left = number(emulation::fragments_of(all, 4 * g + k % 4).a[i / 2 + 2 * (k / 4)]);
      const float right = number(emulation::fragments_of(all, 4 * column + k % 4).b[k / 4]);
      d[i] += left * right;
    }
  }
}

inline void mma_bf16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
                     REFRAIN_SITE) {
  emulation::Fragments own;
  std::memcpy(own.a, a, sizeof own.a);
  std::memcpy(own.b, b, sizeof own.b);
  const emulation::Deposits& all =
      emulation::exchange("mma_bf16", ~0u, &own, sizeof own, false, site);
  const emulation::Overlook overlook;
  const unsigned g = emulation::current_lane() / 4;
  const unsigned q = emulation::current_lane() % 4;
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned column = 2 * q + i % 2;
    for (unsigned k = 0; k < 16; ++k) {
      const unsigned holder = k % 8 / 2;
      const float left = emulation::bf16(
          emulation::fragments_of(all, 4 * g + holder).a[i / 2 + 2 * (k / 8)], k % 2);
      const float right =
          emulation::bf16(emulation::fragments_of(all, 4 * column + holder).b[k / 8], k % 2);
      d[i] += left * right;
    }
  }
}

template <bool transposed = false>
void load_matrix(std::uint32_t (&out)[4], const void* row, REFRAIN_SITE) {
  emulation::check_aligned(static_cast<const char*>(row), "load_matrix", site);
  const emulation::Deposits& all =
      emulation::exchange("load_matrix", ~0u, &row, sizeof row, false, site);
  const unsigned g = emulation::current_lane() / 4;
  const unsigned q = emulation::current_lane() % 4;
  for (unsigned i = 0; i < 4; ++i) {
    const auto element = [&](unsigned at_row, unsigned column) {
      const std::uint16_t* address = nullptr;
      {
        const emulation::Overlook overlook;
        std::memcpy(&address, all[8 * i + at_row].data(), sizeof address);
      }
      return std::uint32_t{address[column]};
    };
    out[i] = transposed ? element(2 * q, g) | element(2 * q + 1, g) << 16
                        : element(g, 2 * q) | element(g, 2 * q + 1) << 16;
  }
}

// ---- launches ----

struct Launch {
  const char* name = "";
  dim3 grid{};
  dim3 block{};
  std::size_t shared_bytes = 0;
};

template <class... Parameters>
void launch(const Launch& how, void (*kernel)(Parameters...),
            std::type_identity_t<Parameters>... arguments) {
  auto call = [&] { kernel(arguments...); };
  emulation::run(
      how.name, {how.grid.x, how.grid.y, how.grid.z}, {how.block.x, how.block.y, how.block.z},
      how.shared_bytes, [](void* body) { (*static_cast<decltype(call)*>(body))(); }, &call);
}

inline std::size_t shared_limit_bytes() { return 163 * 1024; }

}  // namespace emulated
}  // namespace refrain::simt
