// Full and sampled softmax cross-entropy with their gradients on the GPU. Device: f32 (by
// math_mode()), f64.
//   z[p,v] = h[p,:] . w[v,:] + offset[v],   Z[p] = sum_v exp(z[p,v])
//   loss = mean over counted rows p of  log Z[p] - (1 - s) z[p,target] - s / V sum_v z[p,v]
//   d[p,v] = (exp(z[p,v]) / Z[p] - (1 - s) [v is the target] - s / V) / counted
//   dh = d w,   dw = d^T h,   dbias[v] = sum_p d[p,v]
// Shapes: hidden [P,C]; weight [V,C]. Full loss: v runs over all V items. Sampled loss: v runs over
// S rows of weight, which are gathered first; the target is separate from them and has its own
// score. s is the label smoothing of the full loss; the sampled loss has s = 0.
//
// cuBLASLt computes the products (matmul/product.hpp), our kernels the rest. Counted rows come
// first (counted_rows.cuh); their number stays on the device, so the products include the other
// rows as zeros. Once:
//   take_rows          h [P,C]: relu applied, counted rows first; the scores of sampled targets;
//                      a warp per row
//   gather_candidates  sampled: w [S,C] and offset [S]; a warp per candidate
// For each slice of rows (score_slice_rows.hpp):
//   product            z = h w^T + offset
//   row_statistics     maximum and sum of exponentials in one pass: log Z, loss; a block per row,
//                      with few candidates a warp
//   score_gradients    d in place of z; sums of d over 16 rows; a thread per 16 bytes of 16 rows
//   products           dw (+)= d^T h,  then  dh = d w in place of h
// After the slices, once:
//   sum_columns        dbias, from the sums over 16 rows, each accumulated over the slices
//   write_rows         dh in the order of the caller: mask of relu, part of the sampled target;
//                      a warp per row
//   mean_loss          the mean of the losses of the rows, in order, in double; one block
// Without gradients a slice ends after row_statistics.
//
// FLOPs: 6 P V C with gradients, 2 P V C without. Memory traffic per slice of R rows: R V scores
// six times (written, read, read and written, read by two products), R V / 8 sums for dbias; w is
// read twice, dw read and written. Bound by arithmetic from C of about 64 on; with few rows by
// memory bandwidth for w and dw. The order of our sums depends only on shapes. P up to 2^31 - 1;
// any V, S, C.

#include "kernels/kernel.hpp"
#include "kernels/loss/counted_rows.cuh"
#include "kernels/loss/score_slice_rows.hpp"
#include "kernels/loss/score_slices.cuh"
#include "kernels/matmul/product_scratch.hpp"
#include "kernels/tiling/column_sums.cuh"
#include "refrain/core/math_mode.hpp"
#include "refrain/kernels/loss.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {
namespace {

constexpr std::int64_t over(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// The problem in the form common to both losses.
template <class T>
struct SoftmaxProblem {
  const char* name;
  Candidates<T> candidates;
  bool target_apart;
  GivenRows<T> given;
  std::int64_t rows;
  std::int64_t ignored;
  T* loss;
  T* dweight;  ///< [candidates,C], or null
  T* dbias;    ///< [candidates], or null
  RowGradients<T> of_rows;
  std::int64_t max_score_bytes;
  double smoothing;

  bool gradients() const {
    return dweight != nullptr || dbias != nullptr || of_rows.dhidden != nullptr ||
           of_rows.dtarget_weight != nullptr || of_rows.dtarget_bias != nullptr;
  }
};

template <class T>
SoftmaxProblem<T> problem_of(const SoftmaxLoss& args) {
  return {.name = SoftmaxLoss::name,
          .candidates = {.weight = args.weight.as<T>(),
                         .bias = args.bias.as<T>(),
                         .ids = nullptr,
                         .log_q = nullptr,
                         .count = args.weight.shape[0],
                         .channels = args.hidden.shape[1],
                         .remove_hits = false},
          .target_apart = false,
          .given = {.hidden = args.hidden.as<T>(),
                    .targets = args.targets.as<std::int32_t>(),
                    .log_q_true = nullptr,
                    .relu = args.relu},
          .rows = args.hidden.shape[0],
          .ignored = args.ignored,
          .loss = args.loss.as<T>(),
          .dweight = args.dweight.as<T>(),
          .dbias = args.dbias.as<T>(),
          .of_rows = {.dhidden = args.dhidden.as<T>(),
                      .dtarget_weight = nullptr,
                      .dtarget_bias = nullptr},
          .max_score_bytes = args.max_score_bytes,
          .smoothing = args.smoothing};
}

template <class T>
SoftmaxProblem<T> problem_of(const SampledSoftmaxLoss& args) {
  const std::int64_t samples = args.negatives.shape.numel();
  const std::int64_t channels = args.hidden.shape[1];
  T* const dweight = args.dweight_rows.as<T>();
  T* const dbias = args.dbias_rows.as<T>();
  return {.name = SampledSoftmaxLoss::name,
          .candidates = {.weight = args.weight.as<T>(),
                         .bias = args.bias.as<T>(),
                         .ids = args.negatives.as<std::int32_t>(),
                         .log_q = args.log_q_negative.as<T>(),
                         .count = samples,
                         .channels = channels,
                         .remove_hits = args.remove_hits},
          .target_apart = true,
          .given = {.hidden = args.hidden.as<T>(),
                    .targets = args.targets.as<std::int32_t>(),
                    .log_q_true = args.log_q_true.as<T>(),
                    .relu = false},
          .rows = args.hidden.shape[0],
          .ignored = args.ignored,
          .loss = args.loss.as<T>(),
          .dweight = dweight,
          .dbias = dbias,
          .of_rows = {.dhidden = args.dhidden.as<T>(),
                      .dtarget_weight = dweight == nullptr ? nullptr : dweight + samples * channels,
                      .dtarget_bias = dbias == nullptr ? nullptr : dbias + samples},
          .max_score_bytes = args.max_score_bytes,
          .smoothing = 0};
}

/// Lays out the scratch memory and runs the slices.
template <class T>
class SoftmaxSlices {
 public:
  SoftmaxSlices(const SoftmaxProblem<T>& problem, Scratch& scratch)
      : problem_(problem), candidates_(problem.candidates) {
    slice_.candidates = candidates_.count;
    slice_.stride = over(candidates_.count, pack) * pack;
    slice_.ids = candidates_.remove_hits ? candidates_.ids : nullptr;
    const std::int64_t bytes_of_row =
        std::max<std::int64_t>(1, slice_.stride) * static_cast<std::int64_t>(sizeof(T));
    slice_.rows = score_slice_rows(problem.rows, problem.max_score_bytes, bytes_of_row);

    library_ = take_product_scratch(scratch);
    slice_.scores = scratch.take<T>(slice_.rows * slice_.stride);
    const std::int64_t elements = problem.rows * candidates_.channels;
    std::int32_t* const index = scratch.take<std::int32_t>(problem.rows);
    rows_ = {.count = problem.rows,
             .channels = candidates_.channels,
             .index = index,
             .counted = nullptr,
             .hidden = scratch.take<T>(elements),
             .targets = scratch.take<std::int32_t>(problem.rows),
             .maxima = scratch.take<T>(problem.rows),
             .factors = scratch.take<T>(problem.rows),
             .losses = scratch.take<double>(problem.rows),
             .target_scores = problem.target_apart ? scratch.take<T>(problem.rows) : nullptr,
             .dtarget = problem.target_apart ? scratch.take<T>(problem.rows) : nullptr,
             .smoothing = static_cast<T>(problem.smoothing)};
    std::int64_t* const counted = scratch.take<std::int64_t>(1);
    rows_.counted = counted;
    listing_ = {.targets = problem.given.targets,
                .rows = problem.rows,
                .ignored = problem.ignored,
                .index = index,
                .counted = counted,
                .parts = scratch.take<std::int64_t>(counting_threads)};
    if (candidates_.ids != nullptr) {
      gathered_ = scratch.take<T>(candidates_.count * candidates_.channels);
      if (candidates_.bias != nullptr || candidates_.log_q != nullptr)
        offsets_ = scratch.take<T>(candidates_.count);
    }
    if (problem.dbias != nullptr) {
      column_sums_ = scratch.take<T>(row_parts(slice_.rows) * slice_.stride);
      column_parts_ = scratch.take<T>(column_parts(row_parts(slice_.rows), candidates_.count, 1));
    }
  }

  void run() {
    packs_ = candidates_.channels % simt::Pack<T>::count == 0 &&
             simt::aligned_16(problem_.given.hidden, candidates_.weight, problem_.of_rows.dhidden,
                              problem_.of_rows.dtarget_weight);
    index_counted_rows(problem_.name, listing_);
    start_per_row(rows_.count, take_rows<T, pack>, take_rows<T, 1>, problem_.given, candidates_,
                  rows_, slice_);
    if (candidates_.ids != nullptr) {
      start_per_row(candidates_.count, gather_candidates<T, pack>, gather_candidates<T, 1>,
                    candidates_, gathered_, offsets_);
    }
    std::int64_t first = 0;
    do {  // without rows once, to write zeros
      ScoreSlice<T> slice = slice_;
      slice.first = first;
      slice.rows = std::min(slice_.rows, rows_.count - first);
      run_slice(slice);
      first += slice.rows;
    } while (first < rows_.count);
    if (problem_.dbias != nullptr) {
      sum_columns(problem_.name,
                  MatrixTerms<T, 1>{.from = column_sums_, .stride = slice_.stride, .apart = 0},
                  row_parts(slice_.rows), candidates_.count,
                  ColumnTargets<T, 1>{.to = {problem_.dbias}, .stride = 0}, column_parts_);
    }
    const RowGradients<T>& to = problem_.of_rows;
    if (to.dhidden != nullptr || to.dtarget_weight != nullptr || to.dtarget_bias != nullptr) {
      start_per_row(rows_.count, write_rows<T, pack>, write_rows<T, 1>, problem_.given, candidates_,
                    rows_, to);
    }
    start(1, 1024, mean_loss<T, 1024>, rows_.losses, rows_.counted, problem_.loss);
  }

 private:
  static constexpr int pack = simt::Pack<T>::count;

  static std::int64_t row_parts(std::int64_t rows) { return over(rows, score_gradient_rows); }

  template <class Kernel, class... Arguments>
  void start(std::int64_t blocks, int threads, Kernel kernel, const Arguments&... arguments) const {
    if (blocks == 0) return;
    simt::launch({.name = problem_.name,
                  .grid = simt::blocks_for(blocks, 1),
                  .block = static_cast<unsigned>(threads)},
                 kernel, arguments...);
  }

  /// A warp per row, 16 bytes or one element per lane.
  template <class Kernel, class... Arguments>
  void start_per_row(std::int64_t rows, Kernel in_packs, Kernel in_elements,
                     const Arguments&... arguments) const {
    start(over(rows, loss_warps), loss_warps * 32, packs_ ? in_packs : in_elements, arguments...);
  }

  void multiply(Product product) const {
    product.dtype = dtype_of<T>;
    product.workspace = library_;
    multiply_matrices(product);
  }

  /// Calls take(first, count) for the candidates: once for all, or with tensor cores separately for
  /// whole packs and for the rest, because cuBLASLt has slower kernels for rows of other lengths.
  template <class Take>
  void for_candidates(Take&& take) const {
    const bool apart = std::is_same_v<T, float> && math_mode() != MathMode::exact;
    const std::int64_t whole = apart ? slice_.candidates / pack * pack : slice_.candidates;
    if (whole > 0 || slice_.candidates == 0) take(std::int64_t{0}, whole);
    if (whole < slice_.candidates) take(whole, slice_.candidates - whole);
  }

  /// row_statistics for the slice; `smooth` with label smoothing.
  template <bool smooth>
  void find_statistics(const ScoreSlice<T>& slice) const {
    if (slice.candidates <= 256 * pack) {
      start(over(slice.rows, statistics_warps), statistics_warps * 32, row_statistics<T, 1, smooth>,
            slice, rows_);
    } else {
      start(slice.rows, statistics_warps * 32, row_statistics<T, statistics_warps, smooth>, slice,
            rows_);
    }
  }

  void run_slice(const ScoreSlice<T>& slice) const {
    const bool named = candidates_.ids != nullptr;
    const T* const weight = named ? gathered_ : candidates_.weight;
    const std::int64_t channels = candidates_.channels;
    T* const hidden = rows_.hidden + slice.first * channels;
    const T* const offsets = named ? offsets_ : candidates_.bias;
    for_candidates([&](std::int64_t first, std::int64_t count) {
      multiply({.a = hidden,
                .b = weight + first * channels,
                .bias = offsets == nullptr ? nullptr : offsets + first,
                .c = slice.scores + first,
                .rows = slice.rows,
                .columns = count,
                .depth = channels,
                .transpose_b = true,
                .c_stride = slice.stride});
    });
    if (problem_.smoothing > 0) {
      find_statistics<true>(slice);
    } else {
      find_statistics<false>(slice);
    }
    if (!problem_.gradients()) return;
    start(over(slice.stride, score_gradient_columns<T>) * row_parts(slice.rows),
          score_gradient_threads,
          problem_.dbias != nullptr ? score_gradients<T, true> : score_gradients<T, false>, slice,
          rows_, column_sums_, slice.first > 0);
    if (problem_.dweight != nullptr) {
      for_candidates([&](std::int64_t first, std::int64_t count) {
        T* const dweight = problem_.dweight + first * channels;
        multiply({.a = slice.scores + first,
                  .b = hidden,
                  .added = slice.first > 0 ? dweight : nullptr,
                  .c = dweight,
                  .rows = count,
                  .columns = channels,
                  .depth = slice.rows,
                  .transpose_a = true,
                  .a_stride = slice.stride});
      });
    }
    if (problem_.of_rows.dhidden != nullptr) {
      for_candidates([&](std::int64_t first, std::int64_t count) {
        multiply({.a = slice.scores + first,
                  .b = weight + first * channels,
                  .added = first > 0 ? hidden : nullptr,
                  .c = hidden,
                  .rows = slice.rows,
                  .columns = channels,
                  .depth = count,
                  .a_stride = slice.stride});
      });
    }
  }

  SoftmaxProblem<T> problem_;
  Candidates<T> candidates_;
  CountedRows listing_{};
  LossRows<T> rows_{};
  ScoreSlice<T> slice_{};
  T* gathered_ = nullptr;      ///< [S,C] rows of named candidates
  T* offsets_ = nullptr;       ///< [S] added to their scores
  T* column_sums_ = nullptr;   ///< [row parts, stride]
  T* column_parts_ = nullptr;  ///< partial sums for the column sums
  MutableView library_;        ///< scratch memory of the products
  bool packs_ = false;         ///< rows of C are whole packs, and aligned
};

template <class Args>
void run_loss(const Args& args, Scratch& scratch) {
  for_floating<Args>(args.hidden.dtype, [&]<class T>(T) {
    SoftmaxSlices<T> slices(problem_of<T>(args), scratch);
    if (!scratch.is_counting()) slices.run();
  });
}

}  // namespace

template <>
void kernel(const SoftmaxLoss& args, Scratch& scratch) {
  run_loss(args, scratch);
}

template <>
void kernel(const SampledSoftmaxLoss& args, Scratch& scratch) {
  run_loss(args, scratch);
}

template void entry(const SoftmaxLoss&, ScratchMemory&);
template void entry(const SampledSoftmaxLoss&, ScratchMemory&);

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
