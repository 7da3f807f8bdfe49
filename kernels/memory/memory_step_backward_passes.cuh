#pragma once
/// The gradients of a memory step: the passes over words and links, and the kernel; formulas, grid
/// and bytes: cuda_memory_step_backward.cu.

#include "kernels/memory/memory_step_backward.cuh"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

/// All products over the elements of words: a warp per word.
template <class T, MemoryPlace place>
__device__ __forceinline__ void MemoryBackward<T, place>::multiply_words() {
  const T* const erase = active_ + at_.erase;
  const T* const vector = active_ + at_.write_vector;
  const T* const write_key = active_ + at_.write_key;
  for (int n = simt::warp(); n < d_.words; n += memory_warps) {
    const std::int64_t first = static_cast<std::int64_t>(n) * d_.width;
    const T* const word = words_ + first;
    const T* const dword = of(tensors_.dafter.words, d_.width);
    const T weight = written()[n];
    T old_squares = 0;
    T old_by_key = 0;
    T squares = 0;
    T word_x = 0;
    T given_x = 0;
    for (int c = simt::lane(); c < d_.width; c += 32) {
      const T x = vector[c] - word[c] * erase[c];
      const T element = word[c] * (T{1} - weight * erase[c]) + weight * vector[c];
      old_squares += word[c] * word[c];
      old_by_key += word[c] * write_key[c];
      squares += element * element;
      word_x += element * x;
      given_x += given(dword, first + c) * x;
    }
    const InverseNorm<T> old_length(simt::warp_sum(old_squares));
    const InverseNorm<T> length(simt::warp_sum(squares));
    old_by_key = simt::warp_sum(old_by_key);
    word_x = simt::warp_sum(word_x);
    given_x = simt::warp_sum(given_x);
    for (int head = 0; head < d_.heads; head += head_group) {
      T key_word[head_group] = {};
      T key_x[head_group] = {};
      T vector_word[head_group] = {};
      T vector_x[head_group] = {};
      for (int c = simt::lane(); c < d_.width; c += 32) {
        const T x = vector[c] - word[c] * erase[c];
        const T element = word[c] * (T{1} - weight * erase[c]) + weight * vector[c];
        REFRAIN_UNROLL
        for (int k = 0; k < head_group; ++k) {
          if (head + k >= d_.heads) break;
          const T key = read_key(head + k)[c];
          const T dvector = dvectors_[(head + k) * d_.width + c];
          key_word[k] += key * element;
          key_x[k] += key * x;
          vector_word[k] += dvector * element;
          vector_x[k] += dvector * x;
        }
      }
      REFRAIN_UNROLL
      for (int k = 0; k < head_group; ++k) {
        if (head + k >= d_.heads) break;
        const int r = head + k;
        key_word[k] = simt::warp_sum(key_word[k]);
        key_x[k] = simt::warp_sum(key_x[k]);
        vector_word[k] = simt::warp_sum(vector_word[k]);
        given_x += reading(r)[n] * simt::warp_sum(vector_x[k]);
        if (simt::lane() != 0) continue;
        cosines(r)[n] = key_word[k] * length.value;
        key_by_x(r)[n] = key_x[k];
        dreading(r)[n] += vector_word[k];
      }
    }
    if (simt::lane() != 0) continue;
    cosine()[n] = old_by_key * old_length.value;
    old_norm()[n] = old_length.value;
    old_live()[n] = old_length.live;
    norm()[n] = length.value;
    live()[n] = length.live;
    word_by_x()[n] = word_x;
    given_by_x()[n] = given_x;
  }
}

/// Backward pass of read'_r = backward_r L'^T read_r + ... + forward_r L' read_r, L'_ij = (1 - w'_i
/// - w'_j) L_ij + w'_i p_j off the diagonal. Takes some rows of links at a time: a warp per row,
/// then a thread per head and column, and one per column.
template <class T, MemoryPlace place>
__device__ __forceinline__ void MemoryBackward<T, place>::follow_links_back() {
  const int words = d_.words;
  const int rows = link_rows(words);
  for (int first = 0; first < words; first += rows) {
    const int count = first + rows < words ? rows : words - first;
    for (int row = simt::warp(); row < count; row += memory_warps) {
      follow_row_back(first + row, renewed_links_ + row * words, old_links_ + row * words,
                      dlinks_ + row * words);
    }
    __syncthreads();
    for (int p = thread(); p < (d_.heads + 1) * words; p += memory_threads) {
      const int r = p / words;
      const int j = p - r * words;
      if (r < d_.heads) {
        T sum = 0;
        for (int row = 0; row < count; ++row)
          sum += dreading(r)[first + row] * renewed_links_[row * words + j];
        along(r)[j] += sum;
      } else {
        T through_link = 0;
        T through_weight = 0;
        for (int row = 0; row < count; ++row) {
          const T dlink = dlinks_[row * words + j];
          through_link += dlink * old_links_[row * words + j];
          through_weight += dlink * written()[first + row];
        }
        dwritten()[j] -= through_link;
        dprecedence()[j] += through_weight;
      }
    }
    __syncthreads();
  }
}

template <class T, MemoryPlace place>
__device__ __forceinline__ void MemoryBackward<T, place>::follow_row_back(int i, T* renewed, T* old,
                                                                          T* dlink) {
  const int words = d_.words;
  const std::int64_t offset = static_cast<std::int64_t>(i) * words;
  const T weight = written()[i];
  for (int j = simt::lane(); j < words; j += 32) {
    old[j] = of(tensors_.before.link, words)[offset + j];
    renewed[j] = i == j ? T{0} : (T{1} - weight - written()[j]) * old[j] + weight * precedence()[j];
    dlink[j] = given(of(tensors_.dafter.link, words), offset + j);
  }
  for (int head = 0; head < d_.heads; head += head_group) {
    T forward[head_group];
    T backward[head_group];
    T sums[head_group] = {};
    REFRAIN_UNROLL
    for (int k = 0; k < head_group; ++k) {
      const int r = head + k < d_.heads ? head + k : head;
      forward[k] = mode(r, 2) * dreading(r)[i];
      backward[k] = mode(r, 0) * old_reading(r)[i];
    }
    for (int j = simt::lane(); j < words; j += 32) {
      T gradient = dlink[j];
      REFRAIN_UNROLL
      for (int k = 0; k < head_group; ++k) {
        if (head + k >= d_.heads) break;
        const T upstream = dreading(head + k)[j];
        gradient += forward[k] * old_reading(head + k)[j] + backward[k] * upstream;
        sums[k] += renewed[j] * upstream;
      }
      dlink[j] = gradient;
    }
    REFRAIN_UNROLL
    for (int k = 0; k < head_group; ++k) {
      if (head + k >= d_.heads) break;
      const T sum = simt::warp_sum(sums[k]);
      if (simt::lane() == 0) against(head + k)[i] = sum;
    }
  }
  T* const to = of(tensors_.dbefore.link, words);
  T through = 0;
  for (int j = simt::lane(); j < words; j += 32) {
    const T gradient = i == j ? T{0} : dlink[j];
    dlink[j] = gradient;
    through += gradient * (precedence()[j] - old[j]);
    if (to != nullptr) to[offset + j] = (T{1} - weight - written()[j]) * gradient;
  }
  through = simt::warp_sum(through);
  if (simt::lane() == 0) dwritten()[i] += through;
}

/// The gradients of the read keys, sum_n pull_rn M'_n, through the normalization of the key: a
/// thread per head and column.
template <class T, MemoryPlace place>
__device__ __forceinline__ void MemoryBackward<T, place>::read_keys_back() {
  T* const to = dinterface() + InterfaceLayout::read_keys;
  for (int p = thread(); p < d_.heads * d_.width; p += memory_threads) {
    const int r = p / d_.width;
    const int c = p - r * d_.width;
    const T erase = active_[at_.erase + c];
    const T vector = active_[at_.write_vector + c];
    T sum = 0;
    for (int n = 0; n < d_.words; ++n) {
      const T old = words_[static_cast<std::int64_t>(n) * d_.width + c];
      sum += pull(r)[n] * (old * (T{1} - written()[n] * erase) + written()[n] * vector);
    }
    to[p] = key_norm()[r] * (sum - key_pull()[r] * read_key(r)[c]);
  }
}

/// The gradients of the words and of the write key, erase vector and write vector: a thread per
/// column, a group of words at a time.
template <class T, MemoryPlace place>
__device__ __forceinline__ void MemoryBackward<T, place>::words_back() {
  constexpr int group = word_group<T>;
  const T* const dword = of(tensors_.dafter.words, d_.width);
  T* const to = of(tensors_.dbefore.words, d_.width);
  for (int c = thread(); c < d_.width; c += memory_threads) {
    const T erase = active_[at_.erase + c];
    const T vector = active_[at_.write_vector + c];
    const T write_key = active_[at_.write_key + c];
    T derase = 0;
    T dvector = 0;
    T dkey = 0;
    for (int first = 0; first < d_.words; first += group) {
      T old[group];
      T gradient[group];
      REFRAIN_UNROLL
      for (int k = 0; k < group; ++k) {
        old[k] = gradient[k] = 0;
        const int n = first + k;
        if (n >= d_.words) continue;
        const std::int64_t at = static_cast<std::int64_t>(n) * d_.width + c;
        old[k] = words_[at];
        gradient[k] = given(dword, at) - shrink()[n] * (old[k] * (T{1} - written()[n] * erase) +
                                                        written()[n] * vector);
      }
      for (int r = 0; r < d_.heads; ++r) {
        const T key = read_key(r)[c];
        const T dread_vector = dvectors_[r * d_.width + c];
        T pulls[group];
        T readings[group];
        simt::load_group(pull(r) + first, pulls);
        simt::load_group(reading(r) + first, readings);
        REFRAIN_UNROLL
        for (int k = 0; k < group; ++k) gradient[k] += readings[k] * dread_vector + pulls[k] * key;
      }
      REFRAIN_UNROLL
      for (int k = 0; k < group; ++k) {
        const int n = first + k;
        if (n >= d_.words) continue;
        const T weight = written()[n];
        derase -= weight * old[k] * gradient[k];
        dvector += weight * gradient[k];
        dkey += content()[n] * old[k];
        if (to == nullptr) continue;
        to[static_cast<std::int64_t>(n) * d_.width + c] =
            gradient[k] * (T{1} - weight * erase) + content()[n] * write_key - cosine()[n] * old[k];
      }
    }
    if (tensors_.dinterface == nullptr) continue;
    dinterface()[at_.erase + c] = derase * erase * (T{1} - erase);
    dinterface()[at_.write_vector + c] = dvector;
    dinterface()[at_.write_key + c] =
        key_norm()[d_.heads] * (dkey - key_pull()[d_.heads] * write_key);
  }
}

template <class T, MemoryPlace place>
__global__ void __launch_bounds__(memory_threads, memory_residents<T, place>)
    memory_step_gradients(MemoryBackwardTensors<T> tensors, MemoryDims dims, InterfaceLayout layout,
                          unsigned char* memory, std::size_t bytes) {
  MemoryBackward<T, place>(tensors, dims, layout, memory_carver<place>(memory, bytes)).run();
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
