#pragma once
/// Definitions of the forward and the backward kernel of a memory step. A block processes one
/// sequence; its intermediate values are pieces of shared memory. Formulas, grids and bytes:
/// cuda_memory_step.cu, cuda_memory_step_backward.cu.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "kernels/memory/layout.hpp"
#include "kernels/pointwise/kernels.cuh"
#include "kernels/simt.hpp"
#include "kernels/tiling/warp_rows.cuh"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

inline constexpr int memory_warps = 8;
inline constexpr int memory_threads = 32 * memory_warps;
inline constexpr int head_group = 4;  // heads in one pass over a row

/// Sizes of the memory of one sequence.
struct MemoryDims {
  int words;
  int width;
  int heads;
};

/// The memory of the pieces of a block, and whether the words are among them.
enum class MemoryPlace {
  tile,    ///< shared memory holds all pieces and the words
  shared,  ///< shared memory holds the pieces; the words are read in place
  global,  ///< the scratch memory holds the pieces; the words are read in place
};

/// The tensors of the memory of a batch; null when absent or not computed.
template <class T>
struct MemoryPointers {
  T* words;
  T* usage;
  T* precedence;
  T* link;
  T* write_weighting;
  T* read_weightings;
};

/// Takes pieces of global memory, as SharedCarver of shared memory.
class GlobalCarver {
 public:
  __device__ __forceinline__ explicit GlobalCarver(unsigned char* from) : next_(from) {}
  template <class T>
  __device__ __forceinline__ T* take(int count) {
    T* const piece = reinterpret_cast<T*>(next_);
    next_ += simt::piece_bytes<T>(count);
    return piece;
  }

 private:
  unsigned char* next_;
};

/// The carver for the pieces of this block; each block has `bytes` of `memory`.
template <MemoryPlace place>
__device__ __forceinline__ auto memory_carver(unsigned char* memory, std::size_t bytes) {
  if constexpr (place == MemoryPlace::global) {
    return GlobalCarver(memory + static_cast<std::size_t>(blockIdx.x) * bytes);
  } else {
    return simt::SharedCarver();
  }
}

/// Minimum blocks per multiprocessor, which bounds the registers of a thread; f64 and global memory
/// have values and addresses of twice the size.
template <class T, MemoryPlace place>
inline constexpr int memory_residents = sizeof(T) == 4 && place != MemoryPlace::global ? 2 : 1;

/// The memory of the pieces of a launch, and the bytes of each kind of memory per block.
struct MemoryPlan {
  MemoryPlace place;
  std::size_t shared_bytes;
  std::size_t scratch_bytes;
};

/// The fastest memory that holds the pieces of a block and, if possible, its words.
inline MemoryPlan memory_plan(std::size_t pieces_bytes, std::size_t words_bytes) {
  const std::size_t limit = simt::shared_limit_bytes();
  if (pieces_bytes + words_bytes <= limit)
    return {MemoryPlace::tile, pieces_bytes + words_bytes, 0};
  if (pieces_bytes <= limit) return {MemoryPlace::shared, pieces_bytes, 0};
  return {MemoryPlace::global, 0, pieces_bytes};
}

/// The sizes of the memory of one sequence. Throws Unsupported when an element index would
/// overflow.
inline MemoryDims memory_dims(const char* name, const MemorySizes& sizes) {
  constexpr std::int64_t limit = std::int64_t{1} << 30;
  const auto countable = [](std::int64_t a, std::int64_t b) {
    return a <= limit && b <= limit && a * b <= limit;
  };
  if (!countable(sizes.words, sizes.width) || !countable(sizes.words, sizes.words) ||
      !countable(8 * (sizes.heads + 8), sizes.width) ||
      !countable(8 * (sizes.heads + 8), sizes.words)) {
    throw Unsupported(refrain::detail::concat(
        name,
        ": expected N W and N N up to 2^30, (R + 8) N and (R + 8) W up to 2^27 on CUDA, got N ",
        sizes.words, ", W ", sizes.width, ", R ", sizes.heads));
  }
  return {static_cast<int>(sizes.words), static_cast<int>(sizes.width),
          static_cast<int>(sizes.heads)};
}

/// The pointers to the tensors of a memory.
template <class T>
MemoryPointers<const T> memory_pointers(const MemoryViews<View>& views) {
  return {views.words.as<T>(), views.usage.as<T>(),           views.precedence.as<T>(),
          views.link.as<T>(),  views.write_weighting.as<T>(), views.read_weightings.as<T>()};
}
template <class T>
MemoryPointers<T> memory_pointers(const MemoryViews<MutableView>& views) {
  return {views.words.as<T>(), views.usage.as<T>(),           views.precedence.as<T>(),
          views.link.as<T>(),  views.write_weighting.as<T>(), views.read_weightings.as<T>()};
}

/// Calls visit.template operator()<place>().
template <class Visit>
void for_memory_place(MemoryPlace place, Visit&& visit) {
  switch (place) {
    case MemoryPlace::tile:
      return visit.template operator()<MemoryPlace::tile>();
    case MemoryPlace::shared:
      return visit.template operator()<MemoryPlace::shared>();
    case MemoryPlace::global:
      return visit.template operator()<MemoryPlace::global>();
  }
}

/// Rows of links that a block holds at a time: at least one per warp, and all of a small memory.
__host__ __device__ constexpr int link_rows(int words) {
  const int rows = 2048 / words > memory_warps ? 2048 / words : memory_warps;
  return rows < words ? rows : words;
}

/// Starts copying `count` elements; the copy is complete after wait_copies and a barrier.
template <class T>
__device__ __forceinline__ void start_copy(T* to, const T* from, int count) {
  constexpr int pack = simt::Pack<T>::count;
  if (count % pack == 0 && reinterpret_cast<std::uintptr_t>(from) % 16 == 0) {
    for (int i = pack * static_cast<int>(threadIdx.x); i < count; i += pack * memory_threads) {
      simt::copy_async<16>(to + i, from + i);
    }
  } else {
    for (int i = static_cast<int>(threadIdx.x); i < count; i += memory_threads) {
      simt::copy_async<static_cast<int>(sizeof(T))>(to + i, from + i);
    }
  }
  simt::commit_copies();
}

// ---- one value ----

/// log(1 + exp(x)), exact at both ends.
template <class T>
__device__ __forceinline__ T softplus(T x) {
  return (x > T{0} ? x : T{0}) + std::log1p(std::exp(-std::abs(x)));
}

/// 1 / sqrt(max(squares, 1e-12)), and its derivative flag: 1 when the maximum is `squares`, which a
/// gradient passes through, 0 when it is the bound.
template <class T>
struct InverseNorm {
  __device__ __forceinline__ explicit InverseNorm(T squares)
      : value(T{1} / std::sqrt(squares < T(1e-12) ? T(1e-12) : squares)),
        live(squares < T(1e-12) ? T{0} : T{1}) {}
  T value;
  T live;
};

/// True when word `a` is allocated before word `b`: lower usage, then lower index, NaN last.
template <class T>
__device__ __forceinline__ bool allocated_before(T usage_a, int a, T usage_b, int b) {
  const T x = usage_a < infinity<T> ? usage_a : infinity<T>;
  const T y = usage_b < infinity<T> ? usage_b : infinity<T>;
  return x < y || (x == y && a < b);
}

/// Calls finish(k, sum_i x[i] vectors[k stride + i]) for every k < vectors_count, on lane 0. A lane
/// reads only those elements of x that it may have written itself.
template <class T, class Finish>
__device__ __forceinline__ void warp_products(const T* x, const T* vectors, int vectors_count,
                                              int stride, int count, Finish&& finish) {
  for (int first = 0; first < vectors_count; first += head_group) {
    T sums[head_group] = {};
    for (int i = simt::lane(); i < count; i += 32) {
      REFRAIN_UNROLL
      for (int k = 0; k < head_group; ++k) {
        if (first + k < vectors_count) sums[k] += x[i] * vectors[(first + k) * stride + i];
      }
    }
    REFRAIN_UNROLL
    for (int k = 0; k < head_group; ++k) {
      if (first + k >= vectors_count) break;
      const T sum = simt::warp_sum(sums[k]);
      if (simt::lane() == 0) finish(first + k, sum);
    }
  }
}

// ---- the interface vector ----

/// The activated value of element i of the interface vector, except keys and modes.
template <class T>
__device__ __forceinline__ T activated(const InterfaceLayout& at, std::int64_t i, T raw) {
  if (i >= at.free_gates || (i >= at.erase && i < at.write_vector)) return logistic(raw);
  return i >= at.write_vector ? raw : T{1} + softplus(raw);  // before the erase vector: strengths
}

/// active = the activated values of the raw vector, in the same layout, keys divided by their
/// lengths. key_norms [2][heads + 1], or null: inverse lengths of the keys, the write key last,
/// then whether gradients pass through them.
template <class T>
__device__ __forceinline__ void activate(const InterfaceLayout& at, const MemoryDims& d,
                                         const T* raw, T* active, T* key_norms) {
  const int thread = static_cast<int>(threadIdx.x);
  for (std::int64_t i = at.read_strengths + thread; i < at.read_modes; i += memory_threads) {
    if (i < at.write_key || i >= at.write_strength) active[i] = activated(at, i, raw[i]);
  }
  for (int r = thread; r < d.heads; r += memory_threads) {
    const T* const from = raw + at.read_modes + 3 * r;
    T* const mode = active + at.read_modes + 3 * r;
    T largest = from[0] > from[1] ? from[0] : from[1];
    largest = from[2] > largest ? from[2] : largest;
    T total = 0;
    for (int k = 0; k < 3; ++k) total += mode[k] = std::exp(from[k] - largest);
    for (int k = 0; k < 3; ++k) mode[k] /= total;
  }
  for (int k = simt::warp(); k <= d.heads; k += memory_warps) {
    const std::int64_t first =
        k < d.heads ? InterfaceLayout::read_keys + std::int64_t{k} * d.width : at.write_key;
    const InverseNorm<T> norm(warp_dot(raw + first, raw + first, d.width));
    for (int c = simt::lane(); c < d.width; c += 32)
      active[first + c] = raw[first + c] * norm.value;
    if (key_norms != nullptr && simt::lane() == 0) {
      key_norms[k] = norm.value;
      key_norms[d.heads + 1 + k] = norm.live;
    }
  }
}

// ---- a block ----

/// Words that a thread processes at a time in a pass along a column, so that one load reads the
/// coefficients of all of them.
template <class T>
inline constexpr int word_group = simt::Pack<T>::count;

/// Stride of a piece [N] in elements: whole 16-byte groups, so that every piece is aligned.
template <class T>
__host__ __device__ constexpr int word_stride(int words) {
  return (words + word_group<T> - 1) / word_group<T> * word_group<T>;
}

/// The pieces of one block for its sequence. Pieces of one shape are rows of one array: their
/// addresses are computed, which takes no registers.
template <class T, int word_pieces, int head_pieces>
class MemoryBlock {
 public:
  /// Bytes of shared memory that the constructor takes.
  static constexpr std::size_t bytes(const MemoryDims& d, const InterfaceLayout& at) {
    const std::int64_t stride = word_stride<T>(d.words);
    return simt::piece_bytes<T>(at.size) + simt::piece_bytes<T>(word_pieces * stride) +
           simt::piece_bytes<T>(head_pieces * d.heads * stride);
  }

 protected:
  template <class Carver>
  __device__ __forceinline__ MemoryBlock(const MemoryDims& dims, const InterfaceLayout& layout,
                                         Carver& carver)
      : d_(dims),
        at_(layout),
        stride_(word_stride<T>(dims.words)),
        first_word_(static_cast<std::int64_t>(blockIdx.x) * dims.words) {
    active_ = carver.template take<T>(static_cast<int>(at_.size));
    words_pieces_ = carver.template take<T>(word_pieces * stride_);
    heads_pieces_ = carver.template take<T>(head_pieces * d_.heads * stride_);
  }

  __device__ __forceinline__ static int thread() { return static_cast<int>(threadIdx.x); }

  /// A piece [N], or row r of a piece [R,N].
  __device__ __forceinline__ T* word_piece(int piece) const {
    return words_pieces_ + piece * stride_;
  }
  __device__ __forceinline__ T* head_piece(int piece, int r) const {
    return heads_pieces_ + (piece * d_.heads + r) * stride_;
  }

  /// The elements of this sequence in a tensor with `per_word` elements per word; null stays null.
  template <class Element>
  __device__ __forceinline__ Element* of(Element* tensor, int per_word = 1) const {
    return tensor == nullptr ? nullptr : tensor + first_word_ * per_word;
  }
  /// The elements of this sequence in a tensor with `count` elements per sequence.
  template <class Element>
  __device__ __forceinline__ static Element* of_sequence(Element* tensor, std::int64_t count) {
    return tensor == nullptr ? nullptr : tensor + static_cast<std::int64_t>(blockIdx.x) * count;
  }

  __device__ __forceinline__ const T* read_key(int r) const {
    return active_ + InterfaceLayout::read_keys + r * d_.width;
  }
  /// Mode k of head r: backward, content, forward.
  __device__ __forceinline__ T mode(int r, int k) const {
    return active_[at_.read_modes + 3 * r + k];
  }

  MemoryDims d_;
  InterfaceLayout at_;
  int stride_;
  std::int64_t first_word_;
  T* active_;  ///< [interface], keys normalized to length 1

 private:
  T* words_pieces_;  ///< [word_pieces,stride]
  T* heads_pieces_;  ///< [head_pieces,R,stride]
};

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
