// The dilated convolution of many channels on the GPU: our kernels gather the rows of the taps, and
// cuBLASLt multiplies. Device: f32.
//   y   = columns w + bias
//         columns[p,k] = x[row that tap k of row p reads], zeros outside the sequence
//   dw  = columns^T dy
//   dx[p] = sum_k products[row q whose tap k reads p, k],   products = dy w^T
// Shapes: x, dx [P,Cin], P = B T rows; w, dw [K,Cin,Cout], in place as [K Cin, Cout]; y, dy
// [P,Cout]; columns, products [P,K Cin].
//
// gather_taps and sum_taps: a warp takes a row, 16 bytes per lane where Cin and the addresses
// allow; the row of a tap is read in place. Columns and products share the scratch memory, in
// slices of whole sequences (max_gathered_bytes); dw adds the slices in order. With one tap the
// products read the rows in place, without columns.
//
// FLOPs: 2 K Cin Cout P for each of y, dx, dw. Memory traffic: gather_taps reads x K times, mostly
// from the caches, and writes columns once; sum_taps reads products and writes dx once; each
// product reads its factors and writes its result. gather_taps and sum_taps are bound by memory
// bandwidth, the products by arithmetic.

#include "kernels/causal_conv/product_conv.cuh"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {
namespace {

/// Calls visit.template operator()<n, items>() with the register row for rows of `channels`
/// elements.
template <class Visit>
void for_tap_row(std::int64_t channels, bool aligned, Visit&& visit) {
  constexpr int pack = simt::Pack<float>::count;
  const bool in_packs = aligned && channels % pack == 0;
  in_packs ? visit.template operator()<pack, 2>() : visit.template operator()<1, 4>();
}

/// Sequences of a slice; all slices have about the same size.
std::int64_t sequences_of_slice(std::int64_t all, std::int64_t max_bytes,
                                std::int64_t bytes_of_sequence) {
  const auto over = [](std::int64_t a, std::int64_t b) { return (a + b - 1) / b; };
  const std::int64_t max_sequences =
      std::max<std::int64_t>(1, max_bytes / std::max<std::int64_t>(1, bytes_of_sequence));
  return over(all, std::max<std::int64_t>(1, over(all, max_sequences)));
}

}  // namespace

ProductConvolution::ProductConvolution(const char* name, const Extents& extents,
                                       std::int64_t max_bytes, const MutableView& library,
                                       Scratch& scratch)
    : name_(name), e_(extents), slice_(extents.batch), library_(library) {
  if (!gathered()) return;
  slice_ = sequences_of_slice(e_.batch, max_bytes,
                              e_.steps * width() * static_cast<std::int64_t>(sizeof(float)));
  columns_ = scratch.take<float>(slice_ * e_.steps * width());
}

/// Calls body(first sequence, sequences) for each slice; once when there are no rows.
template <class Body>
void ProductConvolution::for_slices(const Body& body) const {
  std::int64_t first = 0;
  do {
    const std::int64_t sequences = std::min(slice_, e_.batch - first);
    body(first, sequences);
    first += sequences;
  } while (first < e_.batch);
}

/// Gathers the columns of some sequences.
const float* ProductConvolution::gather(const float* x, std::int64_t sequences) const {
  if (!gathered()) return x;
  const TapRowsShape shape{.steps = TapSteps::forward(e_.padding, e_.taps, e_.dilation, e_.steps),
                           .taps = e_.taps,
                           .rows = sequences * e_.steps,
                           .channels = e_.in};
  if (shape.rows == 0 || shape.channels == 0) return columns_;
  for_tap_row(e_.in, simt::aligned_16(x), [&]<int n, int items>() {
    const simt::Launch how{
        .name = name_, .grid = simt::blocks_for(shape.rows, tap_warps), .block = tap_warps * 32};
    simt::launch(how, gather_taps<n, items>, shape, x, columns_);
  });
  return columns_;
}

void ProductConvolution::sum(const float* columns, std::int64_t taps, std::int64_t sequences,
                             const float* skip, bool add, float* dx) const {
  const TapRowsShape shape{.steps = TapSteps::backward(e_.padding, e_.taps, e_.dilation, e_.steps),
                           .taps = taps,
                           .rows = sequences * e_.steps,
                           .channels = e_.in};
  if (shape.rows == 0 || shape.channels == 0) return;
  for_tap_row(e_.in, simt::aligned_16(skip, dx), [&]<int n, int items>() {
    const simt::Launch how{
        .name = name_, .grid = simt::blocks_for(shape.rows, tap_warps), .block = tap_warps * 32};
    simt::launch(how, sum_taps<n, items>, shape, columns, skip, add, dx);
  });
}

void ProductConvolution::forward(const float* x, const float* w, const float* bias,
                                 float* y) const {
  for_slices([&](std::int64_t first, std::int64_t sequences) {
    multiply_matrices({.a = gather(x + first * e_.steps * e_.in, sequences),
                       .b = w,
                       .bias = bias,
                       .c = y + first * e_.steps * e_.out,
                       .rows = sequences * e_.steps,
                       .columns = e_.out,
                       .depth = width(),
                       .workspace = library_});
  });
}

void ProductConvolution::input_gradient(const float* dy, const float* w, const float* skip,
                                        bool add, float* dx) const {
  for_slices([&](std::int64_t first, std::int64_t sequences) {
    float* const to = dx + first * e_.steps * e_.in;
    multiply_matrices({.a = dy + first * e_.steps * e_.out,
                       .b = w,
                       .added = add && !gathered() ? to : nullptr,
                       .c = gathered() ? columns_ : to,
                       .rows = sequences * e_.steps,
                       .columns = width(),
                       .depth = e_.out,
                       .transpose_b = true,
                       .workspace = library_});
    const float* const skipped = skip == nullptr ? nullptr : skip + first * e_.steps * e_.in;
    if (gathered()) {
      sum(columns_, e_.taps, sequences, skipped, add, to);
    } else if (skip != nullptr) {
      sum(nullptr, 0, sequences, skipped, true, to);
    }
  });
}

void ProductConvolution::weight_gradient(const float* x, const float* dy, float* dw) const {
  for_slices([&](std::int64_t first, std::int64_t sequences) {
    multiply_matrices({.a = gather(x + first * e_.steps * e_.in, sequences),
                       .b = dy + first * e_.steps * e_.out,
                       .added = first > 0 ? dw : nullptr,
                       .c = dw,
                       .rows = width(),
                       .columns = e_.out,
                       .depth = sequences * e_.steps,
                       .transpose_a = true,
                       .workspace = library_});
  });
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
