#pragma once
/// The buffers of the backward step of an external memory on the CPU.

#include <cstdint>

#include "kernels/memory/layout.hpp"
#include "kernels/memory/memory_row.hpp"
#include "kernels/scratch.hpp"

namespace refrain::kernels::cpu {

/// The buffers of one worker for its current sequence. Names that begin with d are gradients.
template <class T>
struct BackwardBuffers {
  BackwardBuffers(Scratch& scratch, const MemorySizes& sizes)
      : active(scratch.take<T>(InterfaceLayout(sizes).size)),
        dactive(scratch.take<T>(InterfaceLayout(sizes).size)),
        retention(scratch.take<T>(sizes.words)),
        before(scratch.take<T>(sizes.words)),
        allocation(scratch.take<T>(sizes.words)),
        dallocation(scratch.take<T>(sizes.words)),
        cosine(scratch.take<T>(sizes.heads * sizes.words)),
        content(scratch.take<T>(sizes.heads * sizes.words)),
        dcontent(scratch.take<T>(sizes.words)),
        norms(scratch.take<InverseNorm<T>>(sizes.words)),
        key_norms(scratch.take<InverseNorm<T>>(sizes.heads)),
        dwritten(scratch.take<T>(sizes.words)),
        dreadings(scratch.take<T>(sizes.heads * sizes.words)),
        dbefore_readings(scratch.take<T>(sizes.heads * sizes.words)),
        others(scratch.take<T>(sizes.heads * sizes.words)),
        dusage(scratch.take<T>(sizes.words)),
        dprecedence(scratch.take<T>(sizes.words)),
        dlink(scratch.take<T>(sizes.words)),
        dword(scratch.take<T>(sizes.width)),
        order(scratch.take<std::int32_t>(sizes.words)) {}

  T* active;
  T* dactive;
  T* retention;
  T* before;
  T* allocation;
  T* dallocation;
  T* cosine;    ///< [R,N]; the lookup of the write uses the first row before that of the read
  T* content;   ///< [R,N], likewise
  T* dcontent;  ///< first the gradient of the lookup, then that of the cosines
  InverseNorm<T>* norms;
  InverseNorm<T>* key_norms;  ///< norms of the read keys
  T* dwritten;                ///< gradient of the new write weighting
  T* dreadings;               ///< [R,N] gradient of the new read weightings
  T* dbefore_readings;        ///< gradient of the old read weightings
  T* others;                  ///< [R,N] products over the other heads
  T* dusage;                  ///< gradient of the new usage
  T* dprecedence;             ///< gradient of the old precedence
  T* dlink;                   ///< one row of the gradient of the new links
  T* dword;                   ///< the gradient of one new word
  std::int32_t* order;
};

template <class T>
std::int64_t backward_buffer_bytes(const MemorySizes& sizes) {
  Scratch scratch;
  BackwardBuffers<T>(scratch, sizes);
  return static_cast<std::int64_t>((scratch.bytes() + 63) / 64 * 64);
}

}  // namespace refrain::kernels::cpu
