// Gradients of one write and one read of an external memory on the GPU, in one launch. Device: f32,
// f64. Shapes as in cuda_memory_step.cu. The cheap values of the forward step (activations,
// lookups, allocation, new words and new links) are recomputed: per sequence 3 N W + 3 N N elements
// are moved, not 4 of each; the given gradient of the words is read twice.
//
// A block of 8 warps processes one sequence. It never sums over words and elements at once:
//   warp per word        all products over the elements of a word (lengths, cosines, the gradient
//                        of the write weighting), lanes along W
//   warp per head        the softmax over words back to its cosines
//   warp per link row, then thread per (head, word): rows pass through tiles of shared memory
//                        [link_rows,N]
//   thread per word      dw' and, in ascending order of usages, du': O(N) each, no product is
//                        divided by a factor that may be zero
//   thread per column    the gradients of the words, the erase vector, the write vector and the
//                        keys, with the coefficients of a 16-byte group of words per load; memory
//                        accesses are coalesced along W. Below W = 256 some warps idle in this
//                        pass.
// There are six barriers and two per link tile. Shared memory: the gradients of the interface
// vector and the read vectors, (20 + 8 R) N elements, three tiles of links of 2,048 elements (8
// rows from N = 256 on), and the old words if the device can hold them; otherwise as in the forward
// step.
//
// FLOPs: B N ((24 + 12 R) W + (9 + 10 R) N). Bound by the latency of the chain of phases while the
// grid fits the GPU at once (few words), then by memory bandwidth.

#include "kernels/kernel.hpp"
#include "kernels/memory/memory_step_backward_passes.cuh"
#include "refrain/kernels/memory.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {
namespace {

template <class T>
MemoryPlan backward_plan(const MemoryDims& dims, const InterfaceLayout& layout) {
  return memory_plan(MemoryBackward<T, MemoryPlace::tile>::bytes(dims, layout),
                     simt::piece_bytes<T>(std::int64_t{dims.words} * dims.width));
}

template <class T>
void backward(const MemoryStepBackward& args, Scratch& scratch) {
  const MemorySizes sizes(args.before);
  const MemoryDims dims = memory_dims(MemoryStepBackward::name, sizes);
  const InterfaceLayout layout(sizes);
  const MemoryPlan plan = backward_plan<T>(dims, layout);
  auto* const memory =
      scratch.take<unsigned char>(sizes.batch * static_cast<std::int64_t>(plan.scratch_bytes));
  if (scratch.is_counting() || sizes.batch == 0) return;
  const MemoryBackwardTensors<T> tensors{.interface = args.interface.as<T>(),
                                         .before = memory_pointers<T>(args.before),
                                         .after = memory_pointers<T>(args.after),
                                         .dafter = memory_pointers<T>(args.dafter),
                                         .dread_vectors = args.dread_vectors.as<T>(),
                                         .dinterface = args.dinterface.as<T>(),
                                         .dbefore = memory_pointers<T>(args.dbefore)};
  const simt::Launch how{.name = MemoryStepBackward::name,
                         .grid = simt::blocks_for(sizes.batch, 1),
                         .block = memory_threads,
                         .shared_bytes = plan.shared_bytes};
  for_memory_place(plan.place, [&]<MemoryPlace place>() {
    simt::launch(how, memory_step_gradients<T, place>, tensors, dims, layout, memory,
                 plan.scratch_bytes);
  });
}

}  // namespace

template <>
void kernel(const MemoryStepBackward& args, Scratch& scratch) {
  for_floating<MemoryStepBackward>(args.interface.dtype,
                                   [&]<class T>(T) { backward<T>(args, scratch); });
}

template void entry(const MemoryStepBackward&, ScratchMemory&);

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
