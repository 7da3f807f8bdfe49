// Gradients of one write and one read of an external memory. The cheap values of the forward step
// (activations, the two write weightings, lookups by content) are recomputed from the interface
// vector and the memory before and after; no other value is saved. A task takes a range of
// sequences; no product is divided by a factor that may be zero.

#include "kernels/kernel.hpp"
#include "kernels/memory/backward_buffers.hpp"
#include "kernels/memory/memory_row.hpp"
#include "refrain/core/parallel.hpp"
#include "refrain/kernels/memory.hpp"

namespace refrain::kernels::cpu {
namespace {

/// The backward step of one sequence, from the read to the usage.
template <class T>
class StepBack {
 public:
  StepBack(const MemoryStepBackward& args, const MemorySizes& sizes, std::int64_t row,
           const BackwardBuffers<T>& buffers)
      : args_(args), sizes_(sizes), at_(sizes), row_(row), use_(buffers) {}

  void run() const {
    const std::int64_t words = sizes_.words;
    activate(at_, sizes_, args_.interface.as<T>() + row_ * at_.size, use_.active);
    std::fill_n(use_.dactive, at_.size, T{0});
    std::fill_n(use_.dbefore_readings, sizes_.heads * words, T{0});
    start_from(args_.dafter.write_weighting, words, use_.dwritten);
    start_from(args_.dafter.usage, words, use_.dusage);
    start_from(args_.dafter.read_weightings, sizes_.heads * words, use_.dreadings);
    precedence();
    readings();
    links();
    written_words();
    write_weighting();
    allocation();
    usage();
    finish();
  }

 private:
  /// The elements of this sequence; null for an empty view.
  const T* of(const View& view) const {
    return view ? view.as<T>() + row_ * (view.shape.numel() / sizes_.batch) : nullptr;
  }
  T* of(const MutableView& view) const {
    return view ? view.as<T>() + row_ * (view.shape.numel() / sizes_.batch) : nullptr;
  }

  void start_from(const View& gradient, std::int64_t count, T* to) const {
    if (const T* from = of(gradient)) {
      std::copy_n(from, count, to);
    } else {
      std::fill_n(to, count, T{0});
    }
  }

  /// p' = (1 - sum w') p + w'
  void precedence() const {
    const T* dnew = of(args_.dafter.precedence);
    if (dnew == nullptr) {
      std::fill_n(use_.dprecedence, sizes_.words, T{0});
      return;
    }
    const T* old = of(args_.before.precedence);
    const T* weighting = of(args_.after.write_weighting);
    const T kept = 1 - sum_lanes<T>(sizes_.words, [&]<class L>(L, std::int64_t n) {
                     return L::load(weighting + n);
                   });
    const T through_sum = dot_product(dnew, old, sizes_.words);
    for_lanes<T>(sizes_.words, [&]<class L>(L, std::int64_t n) {
      L::store(use_.dprecedence + n, kept * L::load(dnew + n));
      L::store(use_.dwritten + n, L::load(use_.dwritten + n) + (L::load(dnew + n) - through_sum));
    });
  }

  /// vector_r = M'^T read'_r: the gradient of the readings.
  void readings() const {
    const T* dvectors = of(args_.dread_vectors);
    if (dvectors == nullptr) return;
    for (std::int64_t n = 0; n < sizes_.words; ++n) {
      const T* word = of(args_.after.words) + n * sizes_.width;
      for (std::int64_t r = 0; r < sizes_.heads; ++r) {
        use_.dreadings[r * sizes_.words + n] +=
            dot_product(dvectors + r * sizes_.width, word, sizes_.width);
      }
    }
  }

  /// read'_r = backward_r L'^T read_r + ... + forward_r L' read_r, L'_ij = (1 - w'_i - w'_j) L_ij +
  /// w'_i p_j off the diagonal.
  void links() const {
    const std::int64_t words = sizes_.words;
    const T* weighting = of(args_.after.write_weighting);
    const T* precedence = of(args_.before.precedence);
    const T* dlinks = of(args_.dafter.link);
    T* dbefore = of(args_.dbefore.link);
    for (std::int64_t i = 0; i < words; ++i) {
      const T* link = of(args_.before.link) + i * words;
      const T* renewed = of(args_.after.link) + i * words;
      if (dlinks != nullptr) {
        std::copy_n(dlinks + i * words, words, use_.dlink);
      } else {
        std::fill_n(use_.dlink, words, T{0});
      }
      for (std::int64_t r = 0; r < sizes_.heads; ++r) follow_back(r, i, renewed);
      use_.dlink[i] = 0;
      const T weight = weighting[i];
      const T kept = 1 - weight;
      use_.dwritten[i] += sum_lanes<T>(words, [&]<class L>(L, std::int64_t j) {
        return L::load(use_.dlink + j) * (L::load(precedence + j) - L::load(link + j));
      });
      for_lanes<T>(words, [&]<class L>(L, std::int64_t j) {
        const auto gradient = L::load(use_.dlink + j);
        L::store(use_.dwritten + j, L::load(use_.dwritten + j) - gradient * L::load(link + j));
        L::store(use_.dprecedence + j, L::load(use_.dprecedence + j) + weight * gradient);
        if (dbefore != nullptr)
          L::store(dbefore + i * words + j, (kept - L::load(weighting + j)) * gradient);
      });
    }
  }

  /// Adds the contributions of head r through row i of the new links to the gradients of the links,
  /// of its old reading and of its modes.
  void follow_back(std::int64_t r, std::int64_t i, const T* renewed) const {
    const std::int64_t words = sizes_.words;
    const T* mode = use_.active + at_.read_modes + 3 * r;
    T* dmode = use_.dactive + at_.read_modes + 3 * r;
    const T* reading = of(args_.before.read_weightings) + r * words;
    const T* dreading = use_.dreadings + r * words;
    T* dold = use_.dbefore_readings + r * words;
    const T along = dot_product(renewed, reading, words);
    const T against = dot_product(renewed, dreading, words);
    dmode[0] += reading[i] * against;
    dmode[2] += dreading[i] * along;
    dold[i] += mode[0] * against;
    const T forward = mode[2] * dreading[i];
    const T backward = mode[0] * reading[i];
    for_lanes<T>(words, [&]<class L>(L, std::int64_t j) {
      L::store(use_.dlink + j, L::load(use_.dlink + j) + forward * L::load(reading + j) +
                                   backward * L::load(dreading + j));
      L::store(dold + j, L::load(dold + j) + forward * L::load(renewed + j));
    });
  }

  /// Replaces the gradient of softmax_n(strength cosine_n) by that of the cosines; returns the
  /// gradient of the strength.
  T back_to_cosines(const T* content, const T* cosine, T strength, T* gradient) const {
    const T mean = dot_product(content, gradient, sizes_.words);
    for_lanes<T>(sizes_.words, [&]<class L>(L, std::int64_t n) {
      L::store(gradient + n, L::load(content + n) * (L::load(gradient + n) - mean));
    });
    const T dstrength = dot_product(gradient, cosine, sizes_.words);
    for_lanes<T>(sizes_.words, [&]<class L>(L, std::int64_t n) {
      L::store(gradient + n, strength * L::load(gradient + n));
    });
    return dstrength;
  }

  /// Propagates the gradient of one cosine to that of its word (null: not computed) and to `dkey`,
  /// the gradient of the normalized key.
  void back_to_word(T dcosine, T cosine, const T* word, InverseNorm<T> norm, const T* key,
                    T key_norm, T* dword, T* dkey) const {
    if (dword != nullptr) {
      const T along_key = dcosine * norm.value * key_norm;
      const T along_word = norm.live * dcosine * cosine * norm.value * norm.value;
      for_lanes<T>(sizes_.width, [&]<class L>(L, std::int64_t c) {
        L::store(dword + c, L::load(dword + c) + along_key * L::load(key + c) -
                                along_word * L::load(word + c));
      });
    }
    add_scaled(dkey, dcosine * norm.value, word, sizes_.width);
  }

  /// Replaces the gradient of the normalized key by that of the key.
  void finish_key(const T* key, InverseNorm<T> norm, T* dkey) const {
    const T along = norm.live * norm.value * norm.value * dot_product(key, dkey, sizes_.width);
    for_lanes<T>(sizes_.width, [&]<class L>(L, std::int64_t c) {
      L::store(dkey + c, norm.value * (L::load(dkey + c) - along * L::load(key + c)));
    });
  }

  /// M' = M (1 - w' erase^T) + w' vector^T, including the gradient of M' from the read.
  void written_words() const {
    const std::int64_t words = sizes_.words;
    const std::int64_t width = sizes_.width;
    const T* after = of(args_.after.words);
    const T* weighting = of(args_.after.write_weighting);
    const T* dvectors = of(args_.dread_vectors);
    const T* dafter = of(args_.dafter.words);
    T* dbefore = of(args_.dbefore.words);
    const T* erase = use_.active + at_.erase;
    const T* vector = use_.active + at_.write_vector;
    T* derase = use_.dactive + at_.erase;
    T* dvector = use_.dactive + at_.write_vector;
    word_norms(after, sizes_, use_.norms);
    for (std::int64_t r = 0; r < sizes_.heads; ++r) {
      use_.key_norms[r] =
          InverseNorm<T>::of(use_.active + InterfaceLayout::read_keys + r * width, width);
      look_up_back(r);
    }
    for (std::int64_t n = 0; n < words; ++n) {
      if (dafter != nullptr) {
        std::copy_n(dafter + n * width, width, use_.dword);
      } else {
        std::fill_n(use_.dword, width, T{0});
      }
      for (std::int64_t r = 0; r < sizes_.heads; ++r) {
        if (dvectors != nullptr) {
          add_scaled(use_.dword, of(args_.after.read_weightings)[r * words + n],
                     dvectors + r * width, width);
        }
        const T* key = use_.active + InterfaceLayout::read_keys + r * width;
        back_to_word(use_.dreadings[r * words + n], use_.cosine[r * words + n], after + n * width,
                     use_.norms[n], key, use_.key_norms[r].value, use_.dword,
                     use_.dactive + InterfaceLayout::read_keys + r * width);
      }
      const T* word = of(args_.before.words) + n * width;
      const T weight = weighting[n];
      use_.dwritten[n] += sum_lanes<T>(width, [&]<class L>(L, std::int64_t c) {
        return L::load(use_.dword + c) *
               (L::load(vector + c) - L::load(word + c) * L::load(erase + c));
      });
      for_lanes<T>(width, [&]<class L>(L, std::int64_t c) {
        const auto gradient = L::load(use_.dword + c);
        L::store(derase + c, L::load(derase + c) - weight * L::load(word + c) * gradient);
        L::store(dvector + c, L::load(dvector + c) + weight * gradient);
        if (dbefore != nullptr)
          L::store(dbefore + n * width + c, gradient * (1 - weight * L::load(erase + c)));
      });
    }
    for (std::int64_t r = 0; r < sizes_.heads; ++r) {
      const T* key = use_.active + InterfaceLayout::read_keys + r * width;
      finish_key(key, use_.key_norms[r], use_.dactive + InterfaceLayout::read_keys + r * width);
    }
  }

  /// The backward pass of the lookup of head r to its cosines, whose gradient replaces that of the
  /// new reading.
  void look_up_back(std::int64_t r) const {
    const std::int64_t words = sizes_.words;
    T* cosine = use_.cosine + r * words;
    T* content = use_.content + r * words;
    T* dreading = use_.dreadings + r * words;
    const T strength = use_.active[at_.read_strengths + r];
    const T mode = use_.active[at_.read_modes + 3 * r + 1];
    look_up(of(args_.after.words), use_.norms,
            use_.active + InterfaceLayout::read_keys + r * sizes_.width, strength, sizes_, cosine,
            content);
    use_.dactive[at_.read_modes + 3 * r + 1] += dot_product(dreading, content, words);
    for_lanes<T>(words, [&]<class L>(L, std::int64_t n) {
      L::store(dreading + n, mode * L::load(dreading + n));
    });
    use_.dactive[at_.read_strengths + r] += back_to_cosines(content, cosine, strength, dreading);
  }

  /// w' = write_gate (alloc_gate a + (1 - alloc_gate) content(M, write_key, write_strength))
  void write_weighting() const {
    const std::int64_t words = sizes_.words;
    const std::int64_t width = sizes_.width;
    const T* memory = of(args_.before.words);
    const T* key = use_.active + at_.write_key;
    const T strength = use_.active[at_.write_strength];
    const T write_gate = use_.active[at_.write_gate];
    const T allocation_gate = use_.active[at_.allocation_gate];
    const T* usage = of(args_.after.usage);
    sort_by_usage(usage, words, use_.order);
    allocate(usage, use_.order, words, use_.before, use_.allocation);
    word_norms(memory, sizes_, use_.norms);
    look_up(memory, use_.norms, key, strength, sizes_, use_.cosine, use_.content);
    const T through_allocation = dot_product(use_.dwritten, use_.allocation, words);
    const T through_content = dot_product(use_.dwritten, use_.content, words);
    use_.dactive[at_.write_gate] =
        allocation_gate * through_allocation + (1 - allocation_gate) * through_content;
    use_.dactive[at_.allocation_gate] = write_gate * (through_allocation - through_content);
    for_lanes<T>(words, [&]<class L>(L, std::int64_t n) {
      const auto gradient = write_gate * L::load(use_.dwritten + n);
      L::store(use_.dallocation + n, allocation_gate * gradient);
      L::store(use_.dcontent + n, (1 - allocation_gate) * gradient);
    });
    use_.dactive[at_.write_strength] =
        back_to_cosines(use_.content, use_.cosine, strength, use_.dcontent);
    const InverseNorm<T> key_norm = InverseNorm<T>::of(key, width);
    T* dbefore = of(args_.dbefore.words);
    T* dkey = use_.dactive + at_.write_key;
    for (std::int64_t n = 0; n < words; ++n) {
      back_to_word(use_.dcontent[n], use_.cosine[n], memory + n * width, use_.norms[n], key,
                   key_norm.value, dbefore != nullptr ? dbefore + n * width : nullptr, dkey);
    }
    finish_key(key, key_norm, dkey);
  }

  /// a[phi_j] = (1 - u'[phi_j]) before_j. `later` is the derivative by the usage of phi_j through
  /// the words after it, divided by before_j: sum_{k>j} da[phi_k] (1 - u'[phi_k]) prod_{j<i<k}
  /// u'[phi_i].
  void allocation() const {
    const T* usage = of(args_.after.usage);
    T later = 0;
    for (std::int64_t j = sizes_.words - 1; j >= 0; --j) {
      const std::int32_t n = use_.order[j];
      use_.dusage[n] += use_.before[j] * (later - use_.dallocation[n]);
      later = use_.dallocation[n] * (1 - usage[n]) + usage[n] * later;
    }
  }

  /// u' = (u + w - u w) prod_r (1 - free_r read_r)
  void usage() const {
    const std::int64_t words = sizes_.words;
    const T* free_gates = use_.active + at_.free_gates;
    const T* old_readings = of(args_.before.read_weightings);
    const T* used = of(args_.before.usage);
    const T* written = of(args_.before.write_weighting);
    T* product = use_.retention;
    // The product over the other heads: over the earlier ones, then multiplied by that over the
    // later ones.
    std::fill_n(product, words, T{1});
    for (std::int64_t r = 0; r < sizes_.heads; ++r) {
      std::copy_n(product, words, use_.others + r * words);
      keep(free_gates[r], old_readings + r * words, product);
    }
    T* dused = of(args_.dbefore.usage);
    T* dwritten = of(args_.dbefore.write_weighting);
    for_lanes<T>(words, [&]<class L>(L, std::int64_t n) {
      const auto gradient = L::load(use_.dusage + n) * L::load(product + n);
      if (dused != nullptr) L::store(dused + n, gradient * (1 - L::load(written + n)));
      if (dwritten != nullptr) L::store(dwritten + n, gradient * (1 - L::load(used + n)));
    });
    for_lanes<T>(words, [&]<class L>(L, std::int64_t n) {
      const auto u = L::load(used + n);
      const auto w = L::load(written + n);
      L::store(product + n, L::load(use_.dusage + n) * (u + w - u * w));
    });
    for (std::int64_t r = sizes_.heads - 1; r >= 0; --r) {
      const T* reading = old_readings + r * words;
      T* others = use_.others + r * words;
      T* dreading = use_.dbefore_readings + r * words;
      for_lanes<T>(words, [&]<class L>(L, std::int64_t n) {
        const auto gradient = L::load(others + n) * L::load(product + n);
        L::store(others + n, gradient);
        L::store(dreading + n, L::load(dreading + n) - free_gates[r] * gradient);
      });
      use_.dactive[at_.free_gates + r] = -dot_product(others, reading, words);
      keep(free_gates[r], reading, product);
    }
  }

  /// product_n *= 1 - free reading_n
  void keep(T free_gate, const T* reading, T* product) const {
    for_lanes<T>(sizes_.words, [&]<class L>(L, std::int64_t n) {
      L::store(product + n, L::load(product + n) * (1 - free_gate * L::load(reading + n)));
    });
  }

  /// Writes the accumulated gradients; that of the interface vector passes through its activations.
  void finish() const {
    if (T* to = of(args_.dbefore.precedence)) std::copy_n(use_.dprecedence, sizes_.words, to);
    if (T* to = of(args_.dbefore.read_weightings))
      std::copy_n(use_.dbefore_readings, sizes_.heads * sizes_.words, to);
    if (!args_.dinterface) return;
    const T* raw = args_.interface.as<T>() + row_ * at_.size;
    T* to = args_.dinterface.as<T>() + row_ * at_.size;
    std::copy_n(use_.dactive, at_.size, to);
    const auto through_sigmoid = [&](std::int64_t first, std::int64_t count) {
      for (std::int64_t i = first; i < first + count; ++i)
        to[i] *= use_.active[i] * (1 - use_.active[i]);
    };
    for (std::int64_t r = 0; r < sizes_.heads; ++r)
      to[at_.read_strengths + r] *= sigmoid(raw[at_.read_strengths + r]);
    to[at_.write_strength] *= sigmoid(raw[at_.write_strength]);
    through_sigmoid(at_.erase, sizes_.width);
    through_sigmoid(at_.free_gates, sizes_.heads + 2);
    for (std::int64_t r = 0; r < sizes_.heads; ++r) {
      const T* mode = use_.active + at_.read_modes + 3 * r;
      T* dmode = to + at_.read_modes + 3 * r;
      const T mean = mode[0] * dmode[0] + mode[1] * dmode[1] + mode[2] * dmode[2];
      for (int k = 0; k < 3; ++k) dmode[k] = mode[k] * (dmode[k] - mean);
    }
  }

  const MemoryStepBackward& args_;
  const MemorySizes& sizes_;
  InterfaceLayout at_;
  std::int64_t row_;
  const BackwardBuffers<T>& use_;
};

template <class T>
void backward(const MemoryStepBackward& args, Scratch& scratch) {
  const MemorySizes sizes(args.before);
  const std::int64_t bytes = backward_buffer_bytes<T>(sizes);
  std::byte* const memory = scratch.take<std::byte>(threads() * bytes);
  if (scratch.is_counting()) return;
  const std::int64_t per_task = sequences_per_task(sizes);
  parallel_tasks((sizes.batch + per_task - 1) / per_task, [&](std::int64_t task, int worker) {
    Scratch own(memory + worker * bytes);
    const BackwardBuffers<T> buffers(own, sizes);
    const std::int64_t end = std::min(sizes.batch, (task + 1) * per_task);
    for (std::int64_t row = task * per_task; row < end; ++row)
      StepBack<T>(args, sizes, row, buffers).run();
  });
}

}  // namespace

template <>
void kernel(const MemoryStepBackward& args, Scratch& scratch) {
  for_floating<MemoryStepBackward>(args.interface.dtype,
                                   [&]<class T>(T) { backward<T>(args, scratch); });
}

template void entry(const MemoryStepBackward&, ScratchMemory&);

}  // namespace refrain::kernels::cpu
