// Column sums of a matrix by blocks of rows (tiling/row_blocks.hpp).

#include "kernels/kernel.hpp"
#include "kernels/tiling/row_blocks.hpp"
#include "refrain/core/parallel.hpp"
#include "refrain/kernels/sum_rows.hpp"

namespace refrain::kernels::cpu {
namespace {

template <class T>
void column_sums(const SumRows& args, Scratch& scratch) {
  const std::int64_t width = args.x.shape[-1];
  const RowBlocks blocks(args.x.shape.rows(), width, 1);
  T* partial = scratch.take<T>(blocks.elements());
  if (scratch.is_counting()) return;
  parallel_tasks(blocks.count(), [&](std::int64_t block, int) {
    T* __restrict sums = partial + block * blocks.stride();
    std::fill_n(sums, width, T{0});
    for (std::int64_t row = blocks.begin(block); row < blocks.end(block); ++row) {
      const T* __restrict x = args.x.as<T>() + row * width;
      for (std::int64_t c = 0; c < width; ++c) sums[c] += x[c];
    }
  });
  blocks.add_up(partial, width, args.out.as<T>());
}

}  // namespace

template <>
void kernel(const SumRows& args, Scratch& scratch) {
  for_floating<SumRows>(args.x.dtype, [&]<class T>(T) { column_sums<T>(args, scratch); });
}

template void entry(const SumRows&, ScratchMemory&);

}  // namespace refrain::kernels::cpu
