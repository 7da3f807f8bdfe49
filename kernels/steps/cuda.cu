// Time steps of sequences on the GPU. Device: f32, f64 (copies: any type).
//   select_step           y[b,:] = x[b,step,:]                      2 B C elements moved
//   select_step_backward  dx[b,step,:] = dy[b,:], all else zero     B T C
//   swap_axes  y[j,i,:] = x[i,j,:]                                  x [I,J,C]; 2 n elements moved
//   add_spans  y[t] = x[t] + spans[k], k the span of step t         x, y [T,B,C], spans [S,B,C];
//                                                                   2 n, spans from the caches
//   sum_spans  dspans[k] = sum of dy[t] over the steps of span k    dy [T,B,C], dspans [S,B,C]; n
// A team of threads per row of C, each 16 bytes at a time (tiling/row_moves.cuh). add_spans finds
// the span of a time step by binary search; the ends stay in the first-level cache. sum_spans adds
// the time steps of a span in ascending order in one thread; its loads are independent of one
// another and overlap. Bound by memory bandwidth; sum_spans with fewer than about ten thousand S B
// C elements by latency.

#include "kernels/kernel.hpp"
#include "kernels/steps/kernels.cuh"
#include "kernels/tiling/rows.hpp"
#include "refrain/kernels/steps.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {

template <>
void kernel(const SelectStep& args) {
  const StepOfSequence source{.x = args.x.data, .steps = args.x.shape[1], .step = args.step};
  move_rows(SelectStep::name, args.y.shape[0], row_bytes(args.y), source, args.y.data, args.x.data);
}

template <>
void kernel(const SelectStepBackward& args) {
  const SequenceOfStep source{.dy = args.dy.data, .steps = args.dx.shape[1], .step = args.step};
  const std::int64_t rows = args.dx.shape[0] * args.dx.shape[1];
  move_rows(SelectStepBackward::name, rows, row_bytes(args.dy), source, args.dx.data, args.dy.data);
}

template <>
void kernel(const SwapAxes& args) {
  const SwappedRow source{.x = args.x.data, .outer = args.x.shape[0], .inner = args.x.shape[1]};
  const std::int64_t bytes = args.x.shape[2] * static_cast<std::int64_t>(size_bytes(args.x.dtype));
  move_rows(SwapAxes::name, source.outer * source.inner, bytes, source, args.y.data, args.x.data);
}

template <>
void kernel(const AddSpans& args) {
  for_floating<AddSpans>(args.x.dtype, [&]<class T>(T) {
    constexpr int n = simt::Pack<T>::count;
    const Spans spans{.ends = args.ends.as<std::int32_t>(),
                      .count = args.spans.shape[0],
                      .batch = args.x.shape[1]};
    const std::int64_t rows = args.x.shape[0] * spans.batch;
    const std::int64_t width = args.x.shape[2];
    const T* x = args.x.as<T>();
    const T* added = args.spans.as<T>();
    T* y = args.y.as<T>();
    if (rows == 0 || width == 0) return;
    if (width % n == 0 && simt::aligned_16(x, added, y)) {
      const RowGrid grid = row_grid(rows, width / n);
      simt::launch(row_launch(AddSpans::name, grid), add_to_steps<n, T>, grid, spans, x, added, y);
    } else {
      const RowGrid grid = row_grid(rows, width);
      simt::launch(row_launch(AddSpans::name, grid), add_to_steps<1, T>, grid, spans, x, added, y);
    }
  });
}

template <>
void kernel(const SumSpans& args) {
  for_floating<SumSpans>(args.dy.dtype, [&]<class T>(T) {
    constexpr int n = simt::Pack<T>::count;
    const Spans spans{.ends = args.ends.as<std::int32_t>(),
                      .count = args.dspans.shape[0],
                      .batch = args.dy.shape[1]};
    const std::int64_t rows = spans.count * spans.batch;
    const std::int64_t width = args.dy.shape[2];
    const T* dy = args.dy.as<T>();
    T* dspans = args.dspans.as<T>();
    if (rows == 0 || width == 0) return;
    if (width % n == 0 && simt::aligned_16(dy, dspans)) {
      const RowGrid grid = row_grid(rows, width / n);
      simt::launch(row_launch(SumSpans::name, grid), sum_of_steps<n, T>, grid, spans, dy, dspans);
    } else {
      const RowGrid grid = row_grid(rows, width);
      simt::launch(row_launch(SumSpans::name, grid), sum_of_steps<1, T>, grid, spans, dy, dspans);
    }
  });
}

template void entry(const SelectStep&, ScratchMemory&);
template void entry(const SelectStepBackward&, ScratchMemory&);
template void entry(const SwapAxes&, ScratchMemory&);
template void entry(const AddSpans&, ScratchMemory&);
template void entry(const SumSpans&, ScratchMemory&);

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
