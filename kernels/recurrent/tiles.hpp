#pragma once
/// Definitions of the recurrent kernels: a task is a tile of batch rows that runs a whole segment,
/// one time step after another, without waiting for other tiles. The results of a row do not depend
/// on its tile, so the number of threads may determine the tiles.

#include <algorithm>
#include <cstdint>

#include "kernels/kernel.hpp"
#include "kernels/matmul/outer_products.hpp"
#include "refrain/core/parallel.hpp"

namespace refrain::kernels::cpu {

/// Maximum rows of a tile: their gates stay in the second-level cache.
inline constexpr std::int64_t largest_batch_tile = 8 * tile_rows;

/// Rows of one tile: an equal share for each thread, in whole register tiles.
inline std::int64_t batch_tile(std::int64_t batch) {
  const std::int64_t share = (batch + threads() - 1) / threads();
  return std::min(largest_batch_tile, round_up(std::max<std::int64_t>(1, share), tile_rows));
}

/// The number of threads that share the hidden units of a time step when there are fewer sequences
/// than threads: each takes whole panels of every gate, and its part of the weight stays in the
/// cache of its core. 1: the threads share the sequences instead.
template <class T>
std::int64_t unit_parts(std::int64_t batch, std::int64_t hidden) {
  constexpr std::int64_t panel = 2 * Lanes<T>::count;
  constexpr std::int64_t min_weights = 64 * 1024;  // weights of one time step and thread
  if (batch > tile_rows || threads() == 1 || hidden % panel != 0) return 1;
  return std::clamp<std::int64_t>(std::min(hidden / panel, 4 * hidden * hidden / min_weights), 1,
                                  threads());
}

/// Calls run(first, count, worker) for tiles of batch rows.
template <class Run>
void for_batch_tiles(std::int64_t batch, Run&& run) {
  const std::int64_t tile = batch_tile(batch);
  parallel_tasks((batch + tile - 1) / tile, [&](std::int64_t task, int worker) {
    run(task * tile, std::min(tile, batch - task * tile), worker);
  });
}

/// weight [N,K] packed for x weight^T (transposed = true) or for x weight: the given packed form,
/// or one packed in `scratch`.
template <class T>
class PackedOrPacking {
 public:
  PackedOrPacking(const View& weight, const View& packed, bool transposed, Scratch& scratch,
                  bool needed = true)
      : weight_(weight), given_(packed), transposed_(transposed), needed_(needed) {
    if (needed && !packed) made_ = scratch.take<T>(packed_size<T>(depth(), columns()));
  }

  /// The packed weight; null when not needed. Call it once, before the tiles.
  const T* get() const {
    if (!needed_) return nullptr;
    if (given_) return given_.as<T>();
    pack<T>(weight_.as<T>(), transposed_ ? 1 : columns(), transposed_ ? depth() : 1, depth(),
            columns(), 0, depth(), made_);
    return made_;
  }

 private:
  std::int64_t depth() const { return weight_.shape[transposed_ ? 1 : 0]; }
  std::int64_t columns() const { return weight_.shape[transposed_ ? 0 : 1]; }

  View weight_;
  View given_;
  bool transposed_;
  bool needed_;
  T* made_ = nullptr;
};

/// to = a + b, element by element.
template <class T>
void sum_of(const T* a, const T* b, std::int64_t count, T* to) {
  for_lanes<T>(count, [&](auto lanes, std::int64_t i) {
    using L = decltype(lanes);
    L::store(to + i, L::load(a + i) + L::load(b + i));
  });
}

/// dweight += sum over steps and rows of da_l (outer) h_{l-1}; da [L,B,inner] with a row stride, h0
/// [B,H], h [L,B,H], dweight [inner,H].
template <class T>
void add_recurrent_gradient(const T* da, std::int64_t stride, std::int64_t inner, const T* h0,
                            const T* h, std::int64_t steps, std::int64_t batch, std::int64_t hidden,
                            T* dweight) {
  add_outer<T>(da, stride, inner, h0, hidden, batch, dweight);
  if (steps > 1)
    add_outer<T>(da + batch * stride, stride, inner, h, hidden, (steps - 1) * batch, dweight);
}

/// dshared[b] = sum over steps, from the last to the first, of dinputs[l,b].
template <class T>
void sum_over_steps(const T* dinputs, std::int64_t steps, std::int64_t batch, std::int64_t width,
                    T* dshared) {
  parallel_for(batch, std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(1, width * steps)),
               [&](std::int64_t begin, std::int64_t end) {
                 const std::int64_t count = (end - begin) * width;
                 T* const to = dshared + begin * width;
                 std::copy_n(dinputs + ((steps - 1) * batch + begin) * width, count, to);
                 for (std::int64_t l = steps - 2; l >= 0; --l)
                   sum_of(dinputs + (l * batch + begin) * width, to, count, to);
               });
}

}  // namespace refrain::kernels::cpu
