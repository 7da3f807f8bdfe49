// One write and one read of an external memory on the GPU, in one launch. Device: f32, f64.
// Formulas: include/refrain/kernels/memory.hpp. Shapes, per sequence: words [N,W]; usage,
// precedence, write weighting [N]; links [N,N]; read weightings [R,N]; read vectors [R,W];
// interface vector [R W + 3 W + 5 R + 3].
//
// A block of 8 warps processes one sequence, from the interface vector to the read vectors. Values
// are updated in shared memory and written to the new memory as soon as they are known; the copy of
// the old words to shared memory overlaps with the activation of the interface vector.
//   warp per word      cosine with the write key; update, length and cosines with the read keys
//                      (lanes along W)
//   warp per link row  update and the forward weightings (lanes along N); rows pass through a tile
//                      of shared memory
//   thread per word    usage; allocation: the product of the usages of all words before it in the
//                      order of usages, without sorting
//   thread per (head, word)    the backward weightings through the link tile
//   thread per (head, column)  the read vectors
//   warp per head      softmax over words
// There are five barriers and two per link tile; the links of up to 45 words are one tile. Shared
// memory: interface vector, (5 + 3 R) N elements, a tile of links of 2,048 elements (8 rows from N
// = 256 on) and the words if the device can hold them. Otherwise the words are read through the
// caches; if the rest does not fit either, it is in scratch memory.
//
// FLOPs: B N ((11 + 4 R) W + (4 + 4 R) N). Memory traffic: 2 B N (W + N) elements and the interface
// vectors. Bound by the latency of the chain of phases while the grid fits the GPU at once (few
// words), then by memory bandwidth.

#include "kernels/kernel.hpp"
#include "kernels/memory/memory_step_forward.cuh"
#include "refrain/kernels/memory.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {
namespace {

template <class T>
MemoryPlan forward_plan(const MemoryDims& dims, const InterfaceLayout& layout) {
  return memory_plan(MemoryForward<T, MemoryPlace::tile>::bytes(dims, layout),
                     simt::piece_bytes<T>(std::int64_t{dims.words} * dims.width));
}

template <class T>
void forward(const MemoryStepForward& args, Scratch& scratch) {
  const MemorySizes sizes(args.before);
  const MemoryDims dims = memory_dims(MemoryStepForward::name, sizes);
  const InterfaceLayout layout(sizes);
  const MemoryPlan plan = forward_plan<T>(dims, layout);
  auto* const memory =
      scratch.take<unsigned char>(sizes.batch * static_cast<std::int64_t>(plan.scratch_bytes));
  if (scratch.is_counting() || sizes.batch == 0) return;
  const MemoryForwardTensors<T> tensors{.interface = args.interface.as<T>(),
                                        .before = memory_pointers<T>(args.before),
                                        .after = memory_pointers<T>(args.after),
                                        .read_vectors = args.read_vectors.as<T>()};
  const simt::Launch how{.name = MemoryStepForward::name,
                         .grid = simt::blocks_for(sizes.batch, 1),
                         .block = memory_threads,
                         .shared_bytes = plan.shared_bytes};
  for_memory_place(plan.place, [&]<MemoryPlace place>() {
    simt::launch(how, memory_step<T, place>, tensors, dims, layout, memory, plan.scratch_bytes);
  });
}

}  // namespace

template <>
void kernel(const MemoryStepForward& args, Scratch& scratch) {
  for_floating<MemoryStepForward>(args.interface.dtype,
                                  [&]<class T>(T) { forward<T>(args, scratch); });
}

template void entry(const MemoryStepForward&, ScratchMemory&);

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
