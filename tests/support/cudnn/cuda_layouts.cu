// Conversions between our layouts and those of cuDNN.  Device: f32.
//   filter_from_taps, taps_from_filter
//                    w [K,Cin,Cout], newest step first  <->  filter [Cout,K,Cin], oldest step
//                    first; 2 n elements moved
//   add_to_rows      y = x + row         x, y [rows,width], row [width]; 2 n
//   write_identity   rows of the identity, [rows,n]; rows n
// One element per thread, blocks of 256. Reordering reads single elements `Cout` or `K Cin` apart:
// weights are small and stay in the second-level cache. Bound by memory bandwidth, where elements
// are apart by sectors of 32 bytes.

#include "support/cudnn/layouts.cuh"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {
namespace {

simt::Launch one_each(const char* name, std::int64_t elements) {
  return {
      .name = name, .grid = simt::blocks_for(elements, layout_threads), .block = layout_threads};
}

}  // namespace

void filter_from_taps(const float* w, const Taps& extents, float* filter) {
  const std::int64_t count = extents.taps * extents.in * extents.out;
  if (count == 0) return;
  simt::launch(one_each("filter_from_taps", count), order_as_filter<float>, extents, w, filter);
}

void taps_from_filter(const float* filter, const Taps& extents, float* w) {
  const std::int64_t count = extents.taps * extents.in * extents.out;
  if (count == 0) return;
  simt::launch(one_each("taps_from_filter", count), order_as_taps<float>, extents, filter, w);
}

void add_to_rows(const float* x, const float* row, std::int64_t rows, std::int64_t width,
                 float* y) {
  if (rows == 0 || width == 0) return;
  simt::launch(one_each("add_to_rows", rows * width), add_row<float>, x, row, rows * width, width,
               y);
}

void write_identity(float* matrix, std::int64_t first, std::int64_t rows, std::int64_t size) {
  if (rows == 0 || size == 0) return;
  simt::launch(one_each("write_identity", rows * size), fill_identity<float>, matrix, first, rows,
               size);
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
