#pragma once
/// Device templates of a memory step's gradients; formulas, grid and bytes: cuda_memory_step_backward.cu.

#include "kernels/memory/memory_step.cuh"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

template <class T>
struct MemoryBackwardTensors {
  const T* interface;
  MemoryPointers<const T> before;
  MemoryPointers<const T> after;  ///< only usage and weightings are read: words and links are made again from those before
  MemoryPointers<const T> dafter;
  const T* dread_vectors;
  T* dinterface;
  MemoryPointers<T> dbefore;
};

/// A block's gradients of one sequence, from the read back to the usage.  A name that begins with d holds a gradient.  With
/// x = write vector - M erase, the new words are M' = M + w' x, and a new word's gradient is
///
///   dM'_n = given_n + sum_r read'_rn dvector_r + sum_r dcosine_rn (key_r - cosine_rn M'_n / |M'_n|) / |M'_n|      (keys of length 1)
///
/// All that is summed over a word's elements is made of products of M', x, keys and given gradients, which one pass by words computes
/// before any of the coefficients is known; all that is summed over words is made of coefficients, in one pass by columns.
template <class T, MemoryPlace place>
class MemoryBackward : MemoryBlock<T, 18, 8> {
  using Block = MemoryBlock<T, 18, 8>;
  using Block::active_, Block::at_, Block::d_, Block::stride_;
  using Block::head_piece, Block::mode, Block::of, Block::of_sequence, Block::read_key, Block::thread, Block::word_piece;

 public:
  /// Bytes that the constructor carves, the words apart.
  static constexpr std::size_t bytes(const MemoryDims& d, const InterfaceLayout& at) {
    const std::int64_t heads = d.heads;
    const std::int64_t links = std::int64_t{link_rows(d.words)} * d.words;
    return Block::bytes(d, at) + simt::piece_bytes<int>(2 * std::int64_t{d.words}) + simt::piece_bytes<T>(heads * d.width) +
           simt::piece_bytes<T>(4 * (heads + 1)) + simt::piece_bytes<T>(2) + 3 * simt::piece_bytes<T>(links);
  }

  template <class Carver>
  __device__ __forceinline__ MemoryBackward(const MemoryBackwardTensors<T>& tensors, const MemoryDims& dims,
                                            const InterfaceLayout& layout, Carver carver)
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
  __device__ __forceinline__ T* dinterface() const { return of_sequence(tensors_.dinterface, at_.size); }
  __device__ __forceinline__ T raw(std::int64_t i) const { return of_sequence(tensors_.interface, at_.size)[i]; }
  /// s (1 - s) of a gate.
  __device__ __forceinline__ T slope(std::int64_t gate) const { return active_[gate] * (T{1} - active_[gate]); }

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
    for (int p = thread(); p < d_.heads * d_.width; p += memory_threads) dvectors_[p] = given(from, p);
  }

  /// As in the forward step; the order is kept for the gradient.
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

  /// All products over the elements of words: a warp per word.
  __device__ __forceinline__ void multiply_words() {
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

  /// The lookup of head r back to its cosines: one warp.
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
    if (tensors_.dinterface != nullptr)
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

  /// read'_r = backward_r L'^T read_r + ... + forward_r L' read_r,  L'_ij = (1 - w'_i - w'_j) L_ij + w'_i p_j off the diagonal.
  /// Some rows of links at a time: a warp per row, then a thread per head and column, and one per column.
  __device__ __forceinline__ void follow_links_back() {
    const int words = d_.words;
    const int rows = link_rows(words);
    for (int first = 0; first < words; first += rows) {
      const int count = first + rows < words ? rows : words - first;
      for (int row = simt::warp(); row < count; row += memory_warps) {
        follow_row_back(first + row, renewed_links_ + row * words, old_links_ + row * words, dlinks_ + row * words);
      }
      __syncthreads();
      for (int p = thread(); p < (d_.heads + 1) * words; p += memory_threads) {
        const int r = p / words;
        const int j = p - r * words;
        if (r < d_.heads) {
          T sum = 0;
          for (int row = 0; row < count; ++row) sum += dreading(r)[first + row] * renewed_links_[row * words + j];
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

  __device__ __forceinline__ void follow_row_back(int i, T* renewed, T* old, T* dlink) {
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

  /// dw'_n = what links and precedence give + dM'_n . x_n.
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

  /// w' = write_gate (alloc_gate a + (1 - alloc_gate) content): one warp.
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
    to[at_.write_gate] = (gate * through_allocation + (T{1} - gate) * through_lookup) * slope(at_.write_gate);
    to[at_.allocation_gate] = write_gate * (through_allocation - through_lookup) * slope(at_.allocation_gate);
  }

  /// The modes of head r through their softmax: one warp.
  __device__ __forceinline__ void modes_back(int r) {
    if (tensors_.dinterface == nullptr) return;
    const T backward = warp_dot(old_reading(r), against(r), d_.words);
    const T content = through_content()[r];
    const T forward = warp_dot(old_reading(r), along(r), d_.words);
    if (simt::lane() != 0) return;
    const T mean = mode(r, 0) * backward + mode(r, 1) * content + mode(r, 2) * forward;
    T* const to = dinterface() + at_.read_modes + 3 * r;
    to[0] = mode(r, 0) * (backward - mean);
    to[1] = mode(r, 1) * (content - mean);
    to[2] = mode(r, 2) * (forward - mean);
  }

  /// a[phi_j] = (1 - u'[phi_j]) before_j, and u' = (u + w - u w) prod_r (1 - free_r read_r): a thread per word.
  __device__ __forceinline__ void usage_back() {
    const T scale = active_[at_.write_gate] * active_[at_.allocation_gate];
    T* const dused = of(tensors_.dbefore.usage);
    T* const dold_written = of(tensors_.dbefore.write_weighting);
    T* const dold_readings = of(tensors_.dbefore.read_weightings, d_.heads);
    for (int n = thread(); n < d_.words; n += memory_threads) {
      // What a greater usage of this word adds through the words after it, per before_j:
      // sum_{k>j} da[phi_k] (1 - u'[phi_k]) prod_{j<i<k} u'[phi_i].
      T later = 0;
      T between = 1;
      for (int j = rank()[n] + 1; j < d_.words; ++j) {
        const int k = order()[j];
        later += between * scale * dwritten()[k] * (T{1} - usage()[k]);
        between *= usage()[k];
      }
      const T dusage = given(of(tensors_.dafter.usage), n) + before_product()[n] * (later - scale * dwritten()[n]);
      const T u = old_usage()[n];
      const T w = old_written()[n];
      // The product over the other heads: that over the earlier ones, then times that over the later ones.
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
          dold_readings[static_cast<std::int64_t>(r) * d_.words + n] = along(r)[n] - gate * gradient;
        others *= T{1} - gate * old_reading(r)[n];
      }
    }
  }

  __device__ __forceinline__ void free_gates_back() {
    for (int r = simt::warp(); r < d_.heads; r += memory_warps) {
      const T through = warp_dot(against(r), old_reading(r), d_.words);
      if (simt::lane() == 0) dinterface()[at_.free_gates + r] = -through * slope(at_.free_gates + r);
    }
  }

  /// sum_n pull_rn M'_n, through the key's own normalisation: a thread per head and column.
  __device__ __forceinline__ void read_keys_back() {
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

  /// The words' gradient, and those of the write's key, erase vector and write vector: a thread per column, a group of words at a time.
  __device__ __forceinline__ void words_back() {
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
          gradient[k] = given(dword, at) - shrink()[n] * (old[k] * (T{1} - written()[n] * erase) + written()[n] * vector);
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
      dinterface()[at_.write_key + c] = key_norm()[d_.heads] * (dkey - key_pull()[d_.heads] * write_key);
    }
  }

  // [N]
  __device__ __forceinline__ T* written() const { return word_piece(0); }     ///< the new write weighting
  __device__ __forceinline__ T* precedence() const { return word_piece(1); }  ///< the old one
  __device__ __forceinline__ T* usage() const { return word_piece(2); }       ///< the new one
  __device__ __forceinline__ T* old_usage() const { return word_piece(3); }
  __device__ __forceinline__ T* old_written() const { return word_piece(4); }
  __device__ __forceinline__ T* before_product() const { return word_piece(5); }  ///< of the usages that come before a word's
  __device__ __forceinline__ T* allocation() const { return word_piece(6); }
  __device__ __forceinline__ T* content() const { return word_piece(7); }    ///< the write's lookup, then the pull on M
  __device__ __forceinline__ T* cosine() const { return word_piece(8); }     ///< with the write key, then what M shrinks by
  __device__ __forceinline__ T* old_norm() const { return word_piece(9); }   ///< 1 / |M|
  __device__ __forceinline__ T* old_live() const { return word_piece(10); }  ///< 1, or 0 where no gradient passes through it
  __device__ __forceinline__ T* norm() const { return word_piece(11); }      ///< 1 / |M'|
  __device__ __forceinline__ T* live() const { return word_piece(12); }
  __device__ __forceinline__ T* given_by_x() const { return word_piece(13); }  ///< x . (given + sum_r read'_r dvector_r)
  __device__ __forceinline__ T* word_by_x() const { return word_piece(14); }   ///< x . M'
  __device__ __forceinline__ T* dwritten() const { return word_piece(15); }
  __device__ __forceinline__ T* dprecedence() const { return word_piece(16); }
  __device__ __forceinline__ T* shrink() const { return word_piece(17); }      ///< the coefficient of -M' in dM'
  __device__ __forceinline__ int* rank() const { return order_; }              ///< place of a word in the order of usages
  __device__ __forceinline__ int* order() const { return order_ + d_.words; }  ///< the word at a place
  // [N] of head r
  __device__ __forceinline__ T* old_reading(int r) const { return head_piece(0, r); }
  __device__ __forceinline__ T* reading(int r) const { return head_piece(1, r); }
  __device__ __forceinline__ T* cosines(int r) const { return head_piece(2, r); }
  __device__ __forceinline__ T* dreading(int r) const { return head_piece(3, r); }
  __device__ __forceinline__ T* key_by_x(int r) const { return head_piece(4, r); }  ///< x . key_r
  __device__ __forceinline__ T* against(int r) const { return head_piece(5, r); }   ///< L' dread', then the free gate's part
  __device__ __forceinline__ T* along(int r) const {
    return head_piece(6, r);
  }  ///< L'^T dread', then the old reading's gradient
  __device__ __forceinline__ T* pull(int r) const { return head_piece(7, r); }  ///< dcosine / |M'|
  // [R+1], the write key last
  __device__ __forceinline__ T* key_norm() const { return by_key_; }                   ///< 1 / |key|
  __device__ __forceinline__ T* key_live() const { return by_key_ + (d_.heads + 1); }  ///< as old_live
  __device__ __forceinline__ T* key_pull() const {
    return by_key_ + 2 * (d_.heads + 1);
  }  ///< the part of the key that its gradient loses
  __device__ __forceinline__ T* through_content() const { return by_key_ + 3 * (d_.heads + 1); }  ///< dread'_r . lookup_r

  const MemoryBackwardTensors<T>& tensors_;
  int* order_;          ///< [2,N]
  T* dvectors_;         ///< [R,W] of the read vectors
  T* by_key_;           ///< [4,R+1]
  T* precedence_sums_;  ///< [2]
  T* renewed_links_;    ///< [link_rows,N]
  T* old_links_;        ///< [link_rows,N]
  T* dlinks_;           ///< [link_rows,N]
  const T* words_;      ///< [N,W] the old words
};

template <class T, MemoryPlace place>
__global__ void __launch_bounds__(memory_threads, memory_residents<T, place>)
    memory_step_gradients(MemoryBackwardTensors<T> tensors, MemoryDims dims, InterfaceLayout layout, unsigned char* workspace,
                          std::size_t bytes) {
  MemoryBackward<T, place>(tensors, dims, layout, memory_carver<place>(workspace, bytes)).run();
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
