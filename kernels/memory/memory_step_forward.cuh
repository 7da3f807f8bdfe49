#pragma once
/// Device templates of a memory step; formulas, grid and bytes: cuda_memory_step.cu.

#include "kernels/memory/memory_step.cuh"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

template <class T>
struct MemoryForwardTensors {
  const T* interface;
  MemoryPointers<const T> before;
  MemoryPointers<T> after;
  T* read_vectors;
};

/// The memory step of one sequence by one block.
template <class T, MemoryPlace place>
class MemoryForward : MemoryBlock<T, 5, 3> {
  using Block = MemoryBlock<T, 5, 3>;
  using Block::active_, Block::at_, Block::d_, Block::stride_;
  using Block::head_piece, Block::mode, Block::of, Block::of_sequence, Block::read_key,
      Block::thread, Block::word_piece;

 public:
  /// Bytes of shared memory that the constructor takes, without the words.
  static constexpr std::size_t bytes(const MemoryDims& d, const InterfaceLayout& at) {
    return Block::bytes(d, at) + simt::piece_bytes<T>(std::int64_t{link_rows(d.words)} * d.words);
  }

  template <class Carver>
  __device__ __forceinline__ MemoryForward(const MemoryForwardTensors<T>& tensors,
                                           const MemoryDims& dims, const InterfaceLayout& layout,
                                           Carver carver)
      : Block(dims, layout, carver), tensors_(tensors) {
    links_ = carver.template take<T>(link_rows(d_.words) * d_.words);
    if constexpr (place == MemoryPlace::tile) {
      renewed_ = carver.template take<T>(d_.words * d_.width);
      words_ = renewed_;
    } else {
      renewed_ = of(tensors_.after.words, d_.width);
      words_ = of(tensors_.before.words, d_.width);
    }
  }

  __device__ __forceinline__ void run() {
    if constexpr (place == MemoryPlace::tile)
      start_copy(renewed_, of(tensors_.before.words, d_.width), d_.words * d_.width);
    activate(at_, d_, of_sequence(tensors_.interface, at_.size), active_, static_cast<T*>(nullptr));
    load();
    simt::wait_copies<0>();
    __syncthreads();
    renew_usage();
    compare_words();
    __syncthreads();
    allocate();
    if (simt::warp() == memory_warps - 1)
      warp_softmax(content(), content(), d_.words, active_[at_.write_strength]);
    __syncthreads();
    choose_words();
    __syncthreads();
    if (simt::warp() == memory_warps - 1) renew_precedence();
    write();
    follow_links();  // ends with a barrier
    recall();
    __syncthreads();
    read();
  }

 private:
  __device__ __forceinline__ void load() {
    for (int n = thread(); n < d_.words; n += memory_threads) {
      const T u = of(tensors_.before.usage)[n];
      const T w = of(tensors_.before.write_weighting)[n];
      usage()[n] = u + w - u * w;
      precedence()[n] = of(tensors_.before.precedence)[n];
    }
    const T* const from = of(tensors_.before.read_weightings, d_.heads);
    for (int p = thread(); p < d_.heads * d_.words; p += memory_threads) {
      const int r = p / d_.words;
      const int n = p - r * d_.words;
      old_reading(r)[n] = from[p];
      reading(r)[n] = 0;
    }
  }

  __device__ __forceinline__ void renew_usage() {
    for (int n = thread(); n < d_.words; n += memory_threads) {
      T renewed = usage()[n];
      for (int r = 0; r < d_.heads; ++r)
        renewed *= T{1} - active_[at_.free_gates + r] * old_reading(r)[n];
      usage()[n] = renewed;
      of(tensors_.after.usage)[n] = renewed;
    }
  }

  /// Cosines of the old words and the write key: a warp per word.
  __device__ __forceinline__ void compare_words() {
    const T* const key = active_ + at_.write_key;
    for (int n = simt::warp(); n < d_.words; n += memory_warps) {
      const T* const word = words_ + static_cast<std::int64_t>(n) * d_.width;
      T squares = 0;
      T along_key = 0;
      for (int c = simt::lane(); c < d_.width; c += 32) {
        squares += word[c] * word[c];
        along_key += word[c] * key[c];
      }
      squares = simt::warp_sum(squares);
      along_key = simt::warp_sum(along_key);
      if (simt::lane() == 0) content()[n] = along_key * InverseNorm<T>(squares).value;
    }
  }

  /// A thread per word multiplies the usages of the words before it in the order of usages, without
  /// sorting.
  __device__ __forceinline__ void allocate() {
    for (int n = thread(); n < d_.words; n += memory_threads) {
      const T own = usage()[n];
      T product = 1;
      for (int i = 0; i < d_.words; ++i) {
        const T other = usage()[i];
        if (allocated_before(other, i, own, n)) product *= other;
      }
      allocation()[n] = (T{1} - own) * product;
    }
  }

  __device__ __forceinline__ void choose_words() {
    const T gate = active_[at_.allocation_gate];
    for (int n = thread(); n < d_.words; n += memory_threads) {
      const T weight =
          active_[at_.write_gate] * (gate * allocation()[n] + (T{1} - gate) * content()[n]);
      written()[n] = weight;
      of(tensors_.after.write_weighting)[n] = weight;
    }
  }

  __device__ __forceinline__ void renew_precedence() {
    T sum = 0;
    for (int n = simt::lane(); n < d_.words; n += 32) sum += written()[n];
    const T kept = T{1} - simt::warp_sum(sum);
    for (int n = simt::lane(); n < d_.words; n += 32) {
      of(tensors_.after.precedence)[n] = kept * precedence()[n] + written()[n];
    }
  }

  /// A warp updates a word, computes its length, and its cosine with every read key while its
  /// elements are in registers.
  __device__ __forceinline__ void write() {
    const T* const erase = active_ + at_.erase;
    const T* const vector = active_ + at_.write_vector;
    T* const after = of(tensors_.after.words, d_.width);
    for (int n = simt::warp(); n < d_.words; n += memory_warps) {
      const std::int64_t first = static_cast<std::int64_t>(n) * d_.width;
      const T weight = written()[n];
      T squares = 0;
      for (int c = simt::lane(); c < d_.width; c += 32) {
        const T element = words_[first + c] * (T{1} - weight * erase[c]) + weight * vector[c];
        renewed_[first + c] = element;
        if constexpr (place == MemoryPlace::tile) after[first + c] = element;
        squares += element * element;
      }
      const InverseNorm<T> norm(simt::warp_sum(squares));
      warp_products(renewed_ + first, read_key(0), d_.heads, d_.width, d_.width,
                    [&](int r, T product) { found(r)[n] = product * norm.value; });
    }
  }

  /// Updates some rows of links at a time: a warp updates a row and computes the forward
  /// weightings, then a thread per head and word accumulates the backward weightings along the
  /// columns.
  __device__ __forceinline__ void follow_links() {
    const int words = d_.words;
    const int rows = link_rows(words);
    for (int first = 0; first < words; first += rows) {
      const int count = first + rows < words ? rows : words - first;
      for (int row = simt::warp(); row < count; row += memory_warps)
        renew_row(first + row, links_ + row * words);
      __syncthreads();
      for (int p = thread(); p < d_.heads * words; p += memory_threads) {
        const int r = p / words;
        const int j = p - r * words;
        T sum = 0;
        for (int row = 0; row < count; ++row)
          sum += old_reading(r)[first + row] * links_[row * words + j];
        reading(r)[j] += mode(r, 0) * sum;
      }
      __syncthreads();
    }
  }

  __device__ __forceinline__ void renew_row(int i, T* renewed) {
    const std::int64_t offset = static_cast<std::int64_t>(i) * d_.words;
    const T* const from = of(tensors_.before.link, d_.words) + offset;
    T* const to = of(tensors_.after.link, d_.words) + offset;
    const T weight = written()[i];
    for (int j = simt::lane(); j < d_.words; j += 32) {
      const T link = (T{1} - weight - written()[j]) * from[j] + weight * precedence()[j];
      renewed[j] = i == j ? T{0} : link;
      to[j] = renewed[j];
    }
    warp_products(renewed, old_reading(0), d_.heads, stride_, d_.words,
                  [&](int r, T product) { reading(r)[i] += mode(r, 2) * product; });
  }

  /// Adds the lookup by content to the readings: a warp per head.
  __device__ __forceinline__ void recall() {
    T* const after = of(tensors_.after.read_weightings, d_.heads);
    for (int r = simt::warp(); r < d_.heads; r += memory_warps) {
      warp_softmax(found(r), found(r), d_.words, active_[at_.read_strengths + r]);
      for (int n = simt::lane(); n < d_.words; n += 32) {
        const T sum = reading(r)[n] + mode(r, 1) * found(r)[n];
        reading(r)[n] = sum;
        after[static_cast<std::int64_t>(r) * d_.words + n] = sum;
      }
    }
  }

  /// The read vectors: a thread per head and column.
  __device__ __forceinline__ void read() {
    T* const to = of_sequence(tensors_.read_vectors, std::int64_t{d_.heads} * d_.width);
    for (int p = thread(); p < d_.heads * d_.width; p += memory_threads) {
      const int r = p / d_.width;
      const T* const column = renewed_ + (p - r * d_.width);
      const T* const weights = reading(r);
      T sum = 0;
      for (int n = 0; n < d_.words; ++n)
        sum += weights[n] * column[static_cast<std::int64_t>(n) * d_.width];
      to[p] = sum;
    }
  }

  __device__ __forceinline__ T* usage() const { return word_piece(0); }       ///< [N] the new usage
  __device__ __forceinline__ T* allocation() const { return word_piece(1); }  ///< [N]
  /// [N] cosines with the write key, then their softmax
  __device__ __forceinline__ T* content() const { return word_piece(2); }
  /// [N] the new write weighting
  __device__ __forceinline__ T* written() const { return word_piece(3); }
  /// [N] the old precedence
  __device__ __forceinline__ T* precedence() const { return word_piece(4); }
  __device__ __forceinline__ T* old_reading(int r) const { return head_piece(0, r); }  ///< [N]
  __device__ __forceinline__ T* reading(int r) const { return head_piece(1, r); }      ///< [N]
  /// [N] cosines with a read key, then their softmax
  __device__ __forceinline__ T* found(int r) const { return head_piece(2, r); }

  const MemoryForwardTensors<T>& tensors_;
  T* links_;        ///< [link_rows,N] new links
  T* renewed_;      ///< [N,W] the new words
  const T* words_;  ///< [N,W] the old words
};

template <class T, MemoryPlace place>
__global__ void __launch_bounds__(memory_threads, memory_residents<T, place>)
    memory_step(MemoryForwardTensors<T> tensors, MemoryDims dims, InterfaceLayout layout,
                unsigned char* memory, std::size_t bytes) {
  MemoryForward<T, place>(tensors, dims, layout, memory_carver<place>(memory, bytes)).run();
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
