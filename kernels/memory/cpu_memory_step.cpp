// One write and one read of an external memory. A task takes a range of sequences; the buffers of a
// worker hold the weightings of one sequence. One pass over the links updates each row, then reads
// it forward and backward while it is in the first-level cache.

#include "kernels/kernel.hpp"
#include "kernels/memory/memory_row.hpp"
#include "refrain/core/parallel.hpp"
#include "refrain/kernels/memory.hpp"

namespace refrain::kernels::cpu {
namespace {

/// The buffers of one worker for its current sequence.
template <class T>
struct Buffers {
  Buffers(Scratch& scratch, const MemorySizes& sizes)
      : active(scratch.take<T>(InterfaceLayout(sizes).size)),
        retention(scratch.take<T>(sizes.words)),
        before(scratch.take<T>(sizes.words)),
        allocation(scratch.take<T>(sizes.words)),
        cosine(scratch.take<T>(sizes.words)),
        content(scratch.take<T>(sizes.words)),
        norms(scratch.take<InverseNorm<T>>(sizes.words)),
        order(scratch.take<std::int32_t>(sizes.words)) {}

  T* active;
  T* retention;
  T* before;
  T* allocation;
  T* cosine;
  T* content;
  InverseNorm<T>* norms;
  std::int32_t* order;
};

template <class T>
std::int64_t buffer_bytes(const MemorySizes& sizes) {
  Scratch scratch;
  Buffers<T>(scratch, sizes);
  return static_cast<std::int64_t>((scratch.bytes() + 63) / 64 * 64);
}

/// The memory step of one sequence.
template <class T>
class Step {
 public:
  Step(const MemoryStepForward& args, const MemorySizes& sizes, std::int64_t row,
       const Buffers<T>& buffers)
      : args_(args), sizes_(sizes), at_(sizes), row_(row), use_(buffers) {}

  void run() const {
    activate(at_, sizes_, args_.interface.as<T>() + row_ * at_.size, use_.active);
    renew_usage();
    choose_words();
    renew_precedence();
    write();
    T* readings = of(args_.after.read_weightings);
    std::fill_n(readings, sizes_.heads * sizes_.words, T{0});
    follow_links(readings);
    read(readings);
  }

 private:
  const T* of(const View& view) const {
    return view.as<T>() + row_ * (view.shape.numel() / sizes_.batch);
  }
  T* of(const MutableView& view) const {
    return view.as<T>() + row_ * (view.shape.numel() / sizes_.batch);
  }

  void renew_usage() const {
    const T* usage = of(args_.before.usage);
    const T* written = of(args_.before.write_weighting);
    T* renewed = of(args_.after.usage);
    retain(use_.active + at_.free_gates, of(args_.before.read_weightings), sizes_, use_.retention);
    for_lanes<T>(sizes_.words, [&]<class L>(L, std::int64_t n) {
      const auto u = L::load(usage + n);
      const auto w = L::load(written + n);
      L::store(renewed + n, (u + w - u * w) * L::load(use_.retention + n));
    });
  }

  void choose_words() const {
    const T* words = of(args_.before.words);
    const T* usage = of(args_.after.usage);
    T* weighting = of(args_.after.write_weighting);
    sort_by_usage(usage, sizes_.words, use_.order);
    allocate(usage, use_.order, sizes_.words, use_.before, use_.allocation);
    word_norms(words, sizes_, use_.norms);
    look_up(words, use_.norms, use_.active + at_.write_key, use_.active[at_.write_strength], sizes_,
            use_.cosine, use_.content);
    const T write_gate = use_.active[at_.write_gate];
    const T allocation_gate = use_.active[at_.allocation_gate];
    for_lanes<T>(sizes_.words, [&]<class L>(L, std::int64_t n) {
      L::store(weighting + n, write_gate * (allocation_gate * L::load(use_.allocation + n) +
                                            (1 - allocation_gate) * L::load(use_.content + n)));
    });
  }

  void renew_precedence() const {
    const T* precedence = of(args_.before.precedence);
    const T* weighting = of(args_.after.write_weighting);
    T* renewed = of(args_.after.precedence);
    const T kept = 1 - sum_lanes<T>(sizes_.words, [&]<class L>(L, std::int64_t n) {
                     return L::load(weighting + n);
                   });
    for_lanes<T>(sizes_.words, [&]<class L>(L, std::int64_t n) {
      L::store(renewed + n, kept * L::load(precedence + n) + L::load(weighting + n));
    });
  }

  void write() const {
    const T* erase = use_.active + at_.erase;
    const T* vector = use_.active + at_.write_vector;
    const T* weighting = of(args_.after.write_weighting);
    for (std::int64_t n = 0; n < sizes_.words; ++n) {
      const T* word = of(args_.before.words) + n * sizes_.width;
      T* renewed = of(args_.after.words) + n * sizes_.width;
      const T weight = weighting[n];
      for_lanes<T>(sizes_.width, [&]<class L>(L, std::int64_t c) {
        L::store(renewed + c, L::load(word + c) * (1 - weight * L::load(erase + c)) +
                                  weight * L::load(vector + c));
      });
    }
  }

  /// Updates the links, and adds the forward and backward weightings to the new readings.
  void follow_links(T* readings) const {
    const std::int64_t words = sizes_.words;
    const T* weighting = of(args_.after.write_weighting);
    const T* precedence = of(args_.before.precedence);
    const T* old_readings = of(args_.before.read_weightings);
    for (std::int64_t i = 0; i < words; ++i) {
      const T* link = of(args_.before.link) + i * words;
      T* renewed = of(args_.after.link) + i * words;
      const T weight = weighting[i];
      const T kept = 1 - weight;
      for_lanes<T>(words, [&]<class L>(L, std::int64_t j) {
        L::store(renewed + j, (kept - L::load(weighting + j)) * L::load(link + j) +
                                  weight * L::load(precedence + j));
      });
      renewed[i] = 0;
      for (std::int64_t r = 0; r < sizes_.heads; ++r) {
        const T* mode = use_.active + at_.read_modes + 3 * r;
        const T* old_reading = old_readings + r * words;
        T* reading = readings + r * words;
        add_scaled(reading, mode[0] * old_reading[i], renewed, words);
        reading[i] += mode[2] * dot_product(renewed, old_reading, words);
      }
    }
  }

  /// Adds the lookup by content to the new readings, and reads.
  void read(T* readings) const {
    const T* words = of(args_.after.words);
    word_norms(words, sizes_, use_.norms);
    for (std::int64_t r = 0; r < sizes_.heads; ++r) {
      T* reading = readings + r * sizes_.words;
      T* vector = of(args_.read_vectors) + r * sizes_.width;
      look_up(words, use_.norms, use_.active + at_.read_keys + r * sizes_.width,
              use_.active[at_.read_strengths + r], sizes_, use_.cosine, use_.content);
      add_scaled(reading, use_.active[at_.read_modes + 3 * r + 1], use_.content, sizes_.words);
      std::fill_n(vector, sizes_.width, T{0});
      for (std::int64_t n = 0; n < sizes_.words; ++n)
        add_scaled(vector, reading[n], words + n * sizes_.width, sizes_.width);
    }
  }

  const MemoryStepForward& args_;
  const MemorySizes& sizes_;
  InterfaceLayout at_;
  std::int64_t row_;
  const Buffers<T>& use_;
};

template <class T>
void forward(const MemoryStepForward& args, Scratch& scratch) {
  const MemorySizes sizes(args.before);
  const std::int64_t bytes = buffer_bytes<T>(sizes);
  std::byte* const memory = scratch.take<std::byte>(threads() * bytes);
  if (scratch.is_counting()) return;
  const std::int64_t per_task = sequences_per_task(sizes);
  parallel_tasks((sizes.batch + per_task - 1) / per_task, [&](std::int64_t task, int worker) {
    Scratch own(memory + worker * bytes);
    const Buffers<T> buffers(own, sizes);
    const std::int64_t end = std::min(sizes.batch, (task + 1) * per_task);
    for (std::int64_t row = task * per_task; row < end; ++row)
      Step<T>(args, sizes, row, buffers).run();
  });
}

}  // namespace

template <>
void kernel(const MemoryStepForward& args, Scratch& scratch) {
  for_floating<MemoryStepForward>(args.interface.dtype,
                                  [&]<class T>(T) { forward<T>(args, scratch); });
}

template void entry(const MemoryStepForward&, ScratchMemory&);

}  // namespace refrain::kernels::cpu
