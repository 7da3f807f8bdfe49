// Time steps of sequences: selection of a step, exchange of the batch and time axes, and vectors
// added to a span of time steps. All of them are limited by memory.

#include <algorithm>
#include <cstring>

#include "kernels/kernel.hpp"
#include "kernels/simd.hpp"
#include "kernels/tiling/row_blocks.hpp"
#include "kernels/tiling/rows.hpp"
#include "refrain/core/parallel.hpp"
#include "refrain/kernels/steps.hpp"

namespace refrain::kernels::cpu {

template <>
void kernel(const SelectStep& args) {
  const std::int64_t sequence_bytes = row_bytes(args.x);
  const std::int64_t bytes = row_bytes(args.y);
  parallel_for(args.y.shape[0], rows_per_task(bytes, copy_bytes_per_task),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t b = begin; b < end; ++b) {
                   std::memcpy(args.y.as<char>() + b * bytes,
                               args.x.as<char>() + b * sequence_bytes + args.step * bytes,
                               static_cast<std::size_t>(bytes));
                 }
               });
}

template <>
void kernel(const SelectStepBackward& args) {
  const std::int64_t sequence_bytes = row_bytes(args.dx);
  const std::int64_t bytes = row_bytes(args.dy);
  const std::int64_t before = args.step * bytes;
  parallel_for(args.dy.shape[0], rows_per_task(sequence_bytes, copy_bytes_per_task),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t b = begin; b < end; ++b) {
                   char* sequence = args.dx.as<char>() + b * sequence_bytes;
                   std::memset(sequence, 0, static_cast<std::size_t>(before));
                   std::memcpy(sequence + before, args.dy.as<char>() + b * bytes,
                               static_cast<std::size_t>(bytes));
                   std::memset(sequence + before + bytes, 0,
                               static_cast<std::size_t>(sequence_bytes - before - bytes));
                 }
               });
}

template <>
void kernel(const SwapAxes& args) {
  const std::int64_t outer = args.x.shape[0];
  const std::int64_t inner = args.x.shape[1];
  const std::int64_t width = args.x.shape[2];
  for_floating<SwapAxes>(args.x.dtype, [&]<class T>(T) {
    const T* x = args.x.as<T>();
    T* y = args.y.as<T>();
    parallel_for(inner * outer, rows_per_task(width), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        const std::int64_t j = row / outer;
        const std::int64_t i = row % outer;
        std::copy_n(x + (i * inner + j) * width, width, y + row * width);
      }
    });
  });
}

template <>
void kernel(const AddSpans& args) {
  const std::int64_t steps = args.x.shape[0];
  const std::int64_t spans = args.spans.shape[0];
  const std::int64_t elements = args.x.shape[1] * args.x.shape[2];
  const std::int32_t* ends = args.ends.as<std::int32_t>();
  for_floating<AddSpans>(args.x.dtype, [&]<class T>(T) {
    parallel_for(steps, rows_per_task(elements), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t) {
        const std::int64_t k =
            std::upper_bound(ends, ends + spans, static_cast<std::int32_t>(t)) - ends;
        const T* x = args.x.as<T>() + t * elements;
        const T* span = args.spans.as<T>() + k * elements;
        T* y = args.y.as<T>() + t * elements;
        for_lanes<T>(elements, [&](auto lanes, std::int64_t i) {
          using L = decltype(lanes);
          L::store(y + i, L::load(x + i) + L::load(span + i));
        });
      }
    });
  });
}

template <>
void kernel(const SumSpans& args) {
  const std::int64_t batch = args.dy.shape[1];
  const std::int64_t width = args.dy.shape[2];
  const std::int64_t spans = args.dspans.shape[0];
  const std::int32_t* ends = args.ends.as<std::int32_t>();
  for_floating<SumSpans>(args.dy.dtype, [&]<class T>(T) {
    parallel_for(spans * batch, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        const std::int64_t k = row / batch;
        const std::int64_t first = k == 0 ? 0 : ends[k - 1];
        T* sum = args.dspans.as<T>() + row * width;
        std::fill_n(sum, width, T{0});
        for (std::int64_t t = first; t < ends[k]; ++t) {
          const T* dy = args.dy.as<T>() + (t * batch + row % batch) * width;
          for_lanes<T>(width, [&](auto lanes, std::int64_t i) {
            using L = decltype(lanes);
            L::store(sum + i, L::load(sum + i) + L::load(dy + i));
          });
        }
      }
    });
  });
}

template void entry(const SelectStep&, ScratchMemory&);
template void entry(const SelectStepBackward&, ScratchMemory&);
template void entry(const SwapAxes&, ScratchMemory&);
template void entry(const AddSpans&, ScratchMemory&);
template void entry(const SumSpans&, ScratchMemory&);

}  // namespace refrain::kernels::cpu
