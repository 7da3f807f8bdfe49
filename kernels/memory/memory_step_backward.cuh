#pragma once
/// The gradients of a memory step: the pieces of a block and all its phases but the passes over
/// words and links (memory_step_backward_passes.cuh).

#include "kernels/memory/memory_step.cuh"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

template <class T>
struct MemoryBackwardTensors {
  const T* interface;
  MemoryPointers<const T> before;
  /// only usage and weightings are read: words and links are recomputed from `before`
  MemoryPointers<const T> after;
  MemoryPointers<const T> dafter;
  const T* dread_vectors;
  T* dinterface;
  MemoryPointers<T> dbefore;
};

/// The gradients of one sequence by one block, from the read to the usage. Names that begin with d
/// are gradients. With x = write vector - M erase, the new words are M' = M + w' x, and the
/// gradient of a new word is
///
///   dM'_n = given_n + sum_r read'_rn dvector_r
///           + sum_r dcosine_rn (key_r - cosine_rn M'_n / |M'_n|) / |M'_n|       (keys of length 1)
///
/// All sums over the elements of a word are products of M', x, keys and given gradients, which one
/// pass over words computes before any coefficient is known. All sums over words are weighted by
/// coefficients, and one pass over columns computes them.
template <class T, MemoryPlace place>
class MemoryBackward : MemoryBlock<T, 18, 8> {
  using Block = MemoryBlock<T, 18, 8>;
  using Block::active_, Block::at_, Block::d_, Block::stride_;
  using Block::head_piece, Block::mode, Block::of, Block::of_sequence, Block::read_key,
      Block::thread, Block::word_piece;

 public:
  /// Bytes of shared memory that the constructor takes, without the words.
  static constexpr std::size_t bytes(const MemoryDims& d, const InterfaceLayout& at) {
    const std::int64_t heads = d.heads;
    const std::int64_t links = std::int64_t{link_rows(d.words)} * d.words;
    return Block::bytes(d, at) + simt::piece_bytes<int>(2 * std::int64_t{d.words}) +
           simt::piece_bytes<T>(heads * d.width) + simt::piece_bytes<T>(4 * (heads + 1)) +
           simt::piece_bytes<T>(2) + 3 * simt::piece_bytes<T>(links);
  }

  template <class Carver>
  __device__ __forceinline__ MemoryBackward(const MemoryBackwardTensors<T>& tensors,
                                            const MemoryDims& dims, const InterfaceLayout& layout,
                                            Carver carver)
      : Block(dims, layout, carver), tensors_(tensors) {
    order_ = carver.template take<int>(2 * d_.words);
    dvectors_ = carver.template take<T>(d_.heads * d_.width);
    by_key_ = carver.template take<T>(4 * (d_.heads + 1));
    precedence_sums_ = carver.template take<T>(2);
    renewed_links_ = carver.template take<T>(link_rows(d_.words) * d_.words);
    old_links_ = carver.template take<T>(link_rows(d_.words) * d_.words);
    dlinks_ = carver.template take<T>(link_rows(d_.words) * d_.words);
    words_ = of(tensors_.before.words, d_.width);
    if constexpr (place == MemoryPlace::tile) {
      T* const tile = carver.template take<T>(d_.words * d_.width);
      start_copy(tile, words_, d_.words * d_.width);
      words_ = tile;
    }
  }

  __device__ __forceinline__ void run() {
    activate(at_, d_, of_sequence(tensors_.interface, at_.size), active_, key_norm());
    load();
    simt::wait_copies<0>();
    __syncthreads();
    allocate();
    multiply_words();
    __syncthreads();
    for (int task = simt::warp(); task < d_.heads + 2; task += memory_warps) {
      if (task < d_.heads) {
        look_up_back(task);
      } else if (task == d_.heads) {
        warp_softmax(cosine(), content(), d_.words, active_[at_.write_strength]);
      } else {
        sum_for_precedence();
      }
    }
    __syncthreads();
    follow_links_back();  // ends with a barrier
    gather_for_weighting();
    __syncthreads();
    for (int task = simt::warp(); task <= d_.heads; task += memory_warps) {
      if (task < d_.heads) {
        modes_back(task);
      } else {
        weighting_back();
      }
    }
    __syncthreads();
    usage_back();
    __syncthreads();
    if (tensors_.dinterface != nullptr) {
      free_gates_back();
      read_keys_back();
    }
    if (tensors_.dinterface != nullptr || tensors_.dbefore.words != nullptr) words_back();
  }

 private:
  /// Element i of a gradient that may be absent.
  __device__ __forceinline__ static T given(const T* gradient, std::int64_t i) {
    return gradient == nullptr ? T{0} : gradient[i];
  }
  __device__ __forceinline__ T* dinterface() const {
    return of_sequence(tensors_.dinterface, at_.size);
  }
  __device__ __forceinline__ T raw(std::int64_t i) const {
    return of_sequence(tensors_.interface, at_.size)[i];
  }
  /// s (1 - s) of a gate.
  __device__ __forceinline__ T slope(std::int64_t gate) const {
    return active_[gate] * (T{1} - active_[gate]);
  }

  __device__ __forceinline__ void load() {
    for (int n = thread(); n < d_.words; n += memory_threads) {
      written()[n] = of(tensors_.after.write_weighting)[n];
      precedence()[n] = of(tensors_.before.precedence)[n];
      usage()[n] = of(tensors_.after.usage)[n];
      old_usage()[n] = of(tensors_.before.usage)[n];
      old_written()[n] = of(tensors_.before.write_weighting)[n];
      dwritten()[n] = given(of(tensors_.dafter.write_weighting), n);
      dprecedence()[n] = 0;
    }
    for (int p = thread(); p < d_.heads * d_.words; p += memory_threads) {
      const int r = p / d_.words;
      const int n = p - r * d_.words;
      old_reading(r)[n] = of(tensors_.before.read_weightings, d_.heads)[p];
      reading(r)[n] = of(tensors_.after.read_weightings, d_.heads)[p];
      dreading(r)[n] = given(of(tensors_.dafter.read_weightings, d_.heads), p);
      along(r)[n] = 0;
    }
    const T* const from = of_sequence(tensors_.dread_vectors, std::int64_t{d_.heads} * d_.width);
    for (int p = thread(); p < d_.heads * d_.width; p += memory_threads)
      dvectors_[p] = given(from, p);
  }

  // Passes over words and links: memory_step_backward_passes.cuh.
  __device__ __forceinline__ void multiply_words();
  __device__ __forceinline__ void follow_links_back();
  __device__ __forceinline__ void follow_row_back(int i, T* renewed, T* old, T* dlink);
  __device__ __forceinline__ void read_keys_back();
  __device__ __forceinline__ void words_back();

  /// The allocation of the forward step; keeps the order of the usages for the gradient.
  __device__ __forceinline__ void allocate() {
    for (int n = thread(); n < d_.words; n += memory_threads) {
      const T own = usage()[n];
      T product = 1;
      int place_of_n = 0;
      for (int i = 0; i < d_.words; ++i) {
        const T other = usage()[i];
        if (!allocated_before(other, i, own, n)) continue;
        product *= other;
        ++place_of_n;
      }
      before_product()[n] = product;
      allocation()[n] = (T{1} - own) * product;
      rank()[n] = place_of_n;
      order()[place_of_n] = n;
    }
  }

  /// The backward pass of the lookup of head r to its cosines: one warp.
  __device__ __forceinline__ void look_up_back(int r) {
    const T strength = active_[at_.read_strengths + r];
    T* const lookup = pull(r);
    warp_softmax(cosines(r), lookup, d_.words, strength);
    const T through = warp_dot(dreading(r), lookup, d_.words);
    T dstrength = 0;
    for (int n = simt::lane(); n < d_.words; n += 32) {
      const T dscore = lookup[n] * mode(r, 1) * (dreading(r)[n] - through);
      dstrength += dscore * cosines(r)[n];
      lookup[n] = strength * dscore * norm()[n];
    }
    dstrength = simt::warp_sum(dstrength);
    if (simt::lane() != 0) return;
    through_content()[r] = through;
    key_pull()[r] = key_live()[r] * strength * dstrength;
    if (tensors_.dinterface == nullptr) return;
    dinterface()[at_.read_strengths + r] = dstrength * logistic(raw(at_.read_strengths + r));
  }

  /// p' = (1 - sum w') p + w':  1 - sum w', and dp' . p.
  __device__ __forceinline__ void sum_for_precedence() {
    T sum = 0;
    T through = 0;
    for (int n = simt::lane(); n < d_.words; n += 32) {
      sum += written()[n];
      through += given(of(tensors_.dafter.precedence), n) * precedence()[n];
    }
    sum = simt::warp_sum(sum);
    through = simt::warp_sum(through);
    if (simt::lane() != 0) return;
    precedence_sums_[0] = T{1} - sum;
    precedence_sums_[1] = through;
  }

  /// dw'_n = the contribution of links and precedence + dM'_n . x_n.
  __device__ __forceinline__ void gather_for_weighting() {
    const T* const dlater = of(tensors_.dafter.precedence);
    T* const to = of(tensors_.dbefore.precedence);
    for (int n = thread(); n < d_.words; n += memory_threads) {
      T weight = dwritten()[n] + given_by_x()[n];
      T along_word = 0;
      for (int r = 0; r < d_.heads; ++r) {
        weight += pull(r)[n] * key_by_x(r)[n];
        along_word += pull(r)[n] * cosines(r)[n];
      }
      along_word *= live()[n] * norm()[n];
      weight -= along_word * word_by_x()[n];
      if (dlater != nullptr) weight += dlater[n] - precedence_sums_[1];
      shrink()[n] = along_word;
      dwritten()[n] = weight;
      if (to != nullptr) to[n] = dprecedence()[n] + precedence_sums_[0] * given(dlater, n);
    }
  }

  /// Backward pass of w' = write_gate (alloc_gate a + (1 - alloc_gate) content): one warp.
  __device__ __forceinline__ void weighting_back() {
    const T write_gate = active_[at_.write_gate];
    const T gate = active_[at_.allocation_gate];
    const T strength = active_[at_.write_strength];
    const T through_allocation = warp_dot(dwritten(), allocation(), d_.words);
    const T through_lookup = warp_dot(dwritten(), content(), d_.words);
    T dstrength = 0;
    for (int n = simt::lane(); n < d_.words; n += 32) {
      const T dscore = content()[n] * (T{1} - gate) * write_gate * (dwritten()[n] - through_lookup);
      const T pull_of_key = strength * dscore * old_norm()[n];
      dstrength += dscore * cosine()[n];
      content()[n] = pull_of_key;
      cosine()[n] *= pull_of_key * old_live()[n] * old_norm()[n];
    }
    dstrength = simt::warp_sum(dstrength);
    if (simt::lane() != 0) return;
    key_pull()[d_.heads] = key_live()[d_.heads] * strength * dstrength;
    if (tensors_.dinterface == nullptr) return;
    T* const to = dinterface();
    to[at_.write_strength] = dstrength * logistic(raw(at_.write_strength));
    to[at_.write_gate] =
        (gate * through_allocation + (T{1} - gate) * through_lookup) * slope(at_.write_gate);
    to[at_.allocation_gate] =
        write_gate * (through_allocation - through_lookup) * slope(at_.allocation_gate);
  }

  /// Backward pass of the modes of head r through their softmax: one warp.
  __device__ __forceinline__ void modes_back(int r) {
    if (tensors_.dinterface == nullptr) return;
    const T backward = warp_dot(old_reading(r), against(r), d_.words);
    const T by_content = through_content()[r];
    const T forward = warp_dot(old_reading(r), along(r), d_.words);
    if (simt::lane() != 0) return;
    const T mean = mode(r, 0) * backward + mode(r, 1) * by_content + mode(r, 2) * forward;
    T* const to = dinterface() + at_.read_modes + 3 * r;
    to[0] = mode(r, 0) * (backward - mean);
    to[1] = mode(r, 1) * (by_content - mean);
    to[2] = mode(r, 2) * (forward - mean);
  }

  /// Backward pass of a[phi_j] = (1 - u'[phi_j]) before_j and u' = (u + w - u w) prod_r (1 - free_r
  /// read_r): a thread per word.
  __device__ __forceinline__ void usage_back() {
    const T scale = active_[at_.write_gate] * active_[at_.allocation_gate];
    T* const dused = of(tensors_.dbefore.usage);
    T* const dold_written = of(tensors_.dbefore.write_weighting);
    T* const dold_readings = of(tensors_.dbefore.read_weightings, d_.heads);
    for (int n = thread(); n < d_.words; n += memory_threads) {
      // The derivative by the usage of this word through the words after it, divided by before_j:
      // sum_{k>j} da[phi_k] (1 - u'[phi_k]) prod_{j<i<k} u'[phi_i].
      T later = 0;
      T between = 1;
      for (int j = rank()[n] + 1; j < d_.words; ++j) {
        const int k = order()[j];
        later += between * scale * dwritten()[k] * (T{1} - usage()[k]);
        between *= usage()[k];
      }
      const T dusage = given(of(tensors_.dafter.usage), n) +
                       before_product()[n] * (later - scale * dwritten()[n]);
      const T u = old_usage()[n];
      const T w = old_written()[n];
      // The product over the other heads: over the earlier ones, then multiplied by that over the
      // later ones.
      T retained = 1;
      for (int r = 0; r < d_.heads; ++r) {
        along(r)[n] = mode(r, 0) * against(r)[n] + mode(r, 2) * along(r)[n];
        against(r)[n] = retained;
        retained *= T{1} - active_[at_.free_gates + r] * old_reading(r)[n];
      }
      if (dused != nullptr) dused[n] = dusage * retained * (T{1} - w);
      if (dold_written != nullptr) dold_written[n] = dusage * retained * (T{1} - u);
      T others = dusage * (u + w - u * w);
      for (int r = d_.heads - 1; r >= 0; --r) {
        const T gate = active_[at_.free_gates + r];
        const T gradient = others * against(r)[n];
        against(r)[n] = gradient;
        if (dold_readings != nullptr)
          dold_readings[r * d_.words + n] = along(r)[n] - gate * gradient;
        others *= T{1} - gate * old_reading(r)[n];
      }
    }
  }

  __device__ __forceinline__ void free_gates_back() {
    for (int r = simt::warp(); r < d_.heads; r += memory_warps) {
      const T through = warp_dot(against(r), old_reading(r), d_.words);
      if (simt::lane() == 0)
        dinterface()[at_.free_gates + r] = -through * slope(at_.free_gates + r);
    }
  }

  // [N]
  /// the new write weighting
  __device__ __forceinline__ T* written() const { return word_piece(0); }
  __device__ __forceinline__ T* precedence() const { return word_piece(1); }  ///< the old one
  __device__ __forceinline__ T* usage() const { return word_piece(2); }       ///< the new one
  __device__ __forceinline__ T* old_usage() const { return word_piece(3); }
  __device__ __forceinline__ T* old_written() const { return word_piece(4); }
  /// product of the usages before that of a word
  __device__ __forceinline__ T* before_product() const { return word_piece(5); }
  __device__ __forceinline__ T* allocation() const { return word_piece(6); }
  /// the lookup of the write, then the pull on M
  __device__ __forceinline__ T* content() const { return word_piece(7); }
  /// cosines with the write key, then the shrinkage of M
  __device__ __forceinline__ T* cosine() const { return word_piece(8); }
  __device__ __forceinline__ T* old_norm() const { return word_piece(9); }  ///< 1 / |M|
  /// 1, or 0 where no gradient passes through it
  __device__ __forceinline__ T* old_live() const { return word_piece(10); }
  __device__ __forceinline__ T* norm() const { return word_piece(11); }  ///< 1 / |M'|
  __device__ __forceinline__ T* live() const { return word_piece(12); }
  /// x . (given + sum_r read'_r dvector_r)
  __device__ __forceinline__ T* given_by_x() const { return word_piece(13); }
  __device__ __forceinline__ T* word_by_x() const { return word_piece(14); }  ///< x . M'
  __device__ __forceinline__ T* dwritten() const { return word_piece(15); }
  __device__ __forceinline__ T* dprecedence() const { return word_piece(16); }
  /// the coefficient of -M' in dM'
  __device__ __forceinline__ T* shrink() const { return word_piece(17); }
  /// rank of a word in the order of usages
  __device__ __forceinline__ int* rank() const { return order_; }
  /// the word of a rank
  __device__ __forceinline__ int* order() const { return order_ + d_.words; }
  // [N] of head r
  __device__ __forceinline__ T* old_reading(int r) const { return head_piece(0, r); }
  __device__ __forceinline__ T* reading(int r) const { return head_piece(1, r); }
  __device__ __forceinline__ T* cosines(int r) const { return head_piece(2, r); }
  __device__ __forceinline__ T* dreading(int r) const { return head_piece(3, r); }
  __device__ __forceinline__ T* key_by_x(int r) const { return head_piece(4, r); }  ///< x . key_r
  /// L' dread', then the part of the free gate
  __device__ __forceinline__ T* against(int r) const { return head_piece(5, r); }
  /// L'^T dread', then dread by links
  __device__ __forceinline__ T* along(int r) const { return head_piece(6, r); }
  __device__ __forceinline__ T* pull(int r) const { return head_piece(7, r); }  ///< dcosine / |M'|
  // [R+1], the write key last
  __device__ __forceinline__ T* key_norm() const { return by_key_; }  ///< 1 / |key|
  /// 1, or 0 where no gradient passes through the length of a key
  __device__ __forceinline__ T* key_live() const { return by_key_ + (d_.heads + 1); }
  /// component of the gradient along the key
  __device__ __forceinline__ T* key_pull() const { return by_key_ + 2 * (d_.heads + 1); }
  /// dread' . lookup
  __device__ __forceinline__ T* through_content() const { return by_key_ + 3 * (d_.heads + 1); }

  const MemoryBackwardTensors<T>& tensors_;
  int* order_;          ///< [2,N]
  T* dvectors_;         ///< [R,W] gradient of the read vectors
  T* by_key_;           ///< [4,R+1]
  T* precedence_sums_;  ///< [2]
  T* renewed_links_;    ///< [link_rows,N]
  T* old_links_;        ///< [link_rows,N]
  T* dlinks_;           ///< [link_rows,N]
  const T* words_;      ///< [N,W] the old words
};

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
