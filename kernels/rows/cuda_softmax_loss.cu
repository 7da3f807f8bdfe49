// Full and sampled softmax cross-entropy with their gradients on the GPU. Device: f32 (by
// math_mode()), f64.
//   loss = mean over counted rows p of  log Z[p] - z[p,target],   Z[p] = sum_v exp(z[p,v]),   z[p,v] = h[p,:] . w[v,:] + offset[v]
//   d[p,v] = (exp(z[p,v]) / Z[p] - [v is the target]) / counted,   dh = d w,   dw = d^T h,   dbias[v] = sum_p d[p,v]
// Shapes: hidden [P,C]; weight [V,C]. Full: v runs over all V items. Sampled: over S named rows of
// weight, taken together first; the target stands apart from them, with a score of its own.
//
// The products are the library's (matmul/product.hpp); our kernels are what lies between. Rows that
// count are listed first (counted_rows.cuh); their number stays on the device, so the products take
// the others too, as zeros. Once:
//   take_rows          h [P,C]: relu applied, counted rows first; a sampled target's score     a warp per row
//   gather_candidates  sampled: w [S,C] and offset [S]                                         a warp per candidate
// For each chunk of rows (score_chunk_limits.hpp):
//   z = h w^T + offset                                                                         library
//   row_statistics     maximum and sum of exponentials in one pass: log Z, loss                a block per row; few candidates: a warp
//   score_gradients    d in place of z; sums of d over 16 rows                                 a thread per 16 bytes of 16 rows
//   dw (+)= d^T h,  then  dh = d w in place of h                                               library
// Once more:
//   sum_columns        dbias, of the sums over 16 rows, each of which has added up the chunks
//   write_rows         dh back in the caller's order: relu's mask, the sampled target's share  a warp per row
//   mean_loss          the rows' losses, in order, in double                                   one block
// Without gradients a chunk ends after row_statistics.
//
// FLOPs 6 P V C with gradients, 2 P V C without. Moved per chunk of R rows: R V scores six times
// (written, read, read and written, read by two products), R V / 8 sums for dbias; w read twice, dw
// read and written. Limit: arithmetic from C of about 64 on; with few rows memory, by w and dw.
// Sums of ours in orders that depend on shapes alone.  P up to 2^31 - 1; any V, S, C.

#include "kernels/cuda.hpp"
#include "kernels/matmul/product_scratch.hpp"
#include "kernels/rows/columns.cuh"
#include "kernels/rows/counted_rows.cuh"
#include "kernels/rows/score_chunk_limits.hpp"
#include "kernels/rows/score_chunks.cuh"
#include "kernels/scratch.hpp"
#include "refrain/core/math_mode.hpp"

namespace refrain::kernels::cuda {
inline namespace REFRAIN_SIMT_BACKEND {
namespace {

using cpu::Scratch;

constexpr std::int64_t over(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// Either loss, as the chunks see it.
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
  void* workspace;

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
          .workspace = args.workspace.data};
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
          .workspace = args.workspace.data};
}

/// Plans the workspace and runs the chunks.
template <class T>
class SoftmaxChunks {
 public:
  SoftmaxChunks(const SoftmaxProblem<T>& problem, const ScoreChunkLimits& limits)
      : problem_(problem), candidates_(problem.candidates) {
    Scratch scratch(problem.workspace);
    chunk_.candidates = candidates_.count;
    chunk_.stride = over(candidates_.count, pack) * pack;
    chunk_.ids = candidates_.remove_hits ? candidates_.ids : nullptr;
    const std::int64_t bytes_of_row =
        std::max<std::int64_t>(1, chunk_.stride) * static_cast<std::int64_t>(sizeof(T));
    chunk_.rows = limits.rows_of_chunk(problem.rows, bytes_of_row);

    library_ = take_product_scratch(scratch);
    chunk_.scores = scratch.take<T>(chunk_.rows * chunk_.stride);
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
             .dtarget = problem.target_apart ? scratch.take<T>(problem.rows) : nullptr};
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
      column_sums_ = scratch.take<T>(row_parts(chunk_.rows) * chunk_.stride);
      column_parts_ = scratch.take<T>(column_parts(row_parts(chunk_.rows), candidates_.count, 1));
    }
    bytes_ = scratch.bytes();
  }

  std::size_t workspace_bytes() const { return bytes_; }

  void run(Stream stream) {
    stream_ = stream;
    packs_ = candidates_.channels % simt::Pack<T>::count == 0 &&
             simt::aligned_16(problem_.given.hidden, candidates_.weight, problem_.of_rows.dhidden,
                              problem_.of_rows.dtarget_weight);
    index_counted_rows(problem_.name, listing_, stream);
    start_per_row(rows_.count, take_rows<T, pack>, take_rows<T, 1>, problem_.given, candidates_,
                  rows_, chunk_);
    if (candidates_.ids != nullptr) {
      start_per_row(candidates_.count, gather_candidates<T, pack>, gather_candidates<T, 1>,
                    candidates_, gathered_, offsets_);
    }
    std::int64_t first = 0;
    do {  // without rows once, for the zeros
      ScoreChunk<T> chunk = chunk_;
      chunk.first = first;
      chunk.rows = std::min(chunk_.rows, rows_.count - first);
      run_chunk(chunk);
      first += chunk.rows;
    } while (first < rows_.count);
    if (problem_.dbias != nullptr) {
      sum_columns(problem_.name,
                  MatrixTerms<T, 1>{.from = column_sums_, .stride = chunk_.stride, .apart = 0},
                  row_parts(chunk_.rows), candidates_.count,
                  ColumnTargets<T, 1>{.to = {problem_.dbias}, .stride = 0}, column_parts_, stream);
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
                  .block = static_cast<unsigned>(threads),
                  .stream = stream_},
                 kernel, arguments...);
  }

  /// A warp per row, 16 bytes or one element a lane.
  template <class Kernel, class... Arguments>
  void start_per_row(std::int64_t rows, Kernel in_packs, Kernel in_elements,
                     const Arguments&... arguments) const {
    start(over(rows, loss_warps), loss_warps * 32, packs_ ? in_packs : in_elements, arguments...);
  }

  void multiply(Product product) const {
    product.dtype = dtype_of<T>;
    product.workspace = library_;
    multiply_matrices(product, stream_);
  }

  /// Calls take(first, count) for the candidates: for all at once, or where tensor cores multiply
  /// for whole packs and for the rest, since the library has slower kernels for rows of other
  /// lengths.
  template <class Take>
  void for_candidates(Take&& take) const {
    const bool apart = std::is_same_v<T, float> && math_mode() != MathMode::exact;
    const std::int64_t whole = apart ? chunk_.candidates / pack * pack : chunk_.candidates;
    if (whole > 0 || chunk_.candidates == 0) take(std::int64_t{0}, whole);
    if (whole < chunk_.candidates) take(whole, chunk_.candidates - whole);
  }

  void run_chunk(const ScoreChunk<T>& chunk) const {
    const bool named = candidates_.ids != nullptr;
    const T* const weight = named ? gathered_ : candidates_.weight;
    const std::int64_t channels = candidates_.channels;
    T* const hidden = rows_.hidden + chunk.first * channels;
    const T* const offsets = named ? offsets_ : candidates_.bias;
    for_candidates([&](std::int64_t first, std::int64_t count) {
      multiply({.a = hidden,
                .b = weight + first * channels,
                .bias = offsets == nullptr ? nullptr : offsets + first,
                .c = chunk.scores + first,
                .rows = chunk.rows,
                .columns = count,
                .depth = channels,
                .transpose_b = true,
                .c_stride = chunk.stride});
    });
    if (chunk.candidates <= 256 * pack) {
      start(over(chunk.rows, statistics_warps), statistics_warps * 32, row_statistics<T, 1>, chunk,
            rows_);
    } else {
      start(chunk.rows, statistics_warps * 32, row_statistics<T, statistics_warps>, chunk, rows_);
    }
    if (!problem_.gradients()) return;
    start(over(chunk.stride, score_gradient_columns<T>) * row_parts(chunk.rows),
          score_gradient_threads,
          problem_.dbias != nullptr ? score_gradients<T, true> : score_gradients<T, false>, chunk,
          rows_, column_sums_, chunk.first > 0);
    if (problem_.dweight != nullptr) {
      for_candidates([&](std::int64_t first, std::int64_t count) {
        T* const dweight = problem_.dweight + first * channels;
        multiply({.a = chunk.scores + first,
                  .b = hidden,
                  .added = chunk.first > 0 ? dweight : nullptr,
                  .c = dweight,
                  .rows = count,
                  .columns = channels,
                  .depth = chunk.rows,
                  .transpose_a = true,
                  .a_stride = chunk.stride});
      });
    }
    if (problem_.of_rows.dhidden != nullptr) {
      for_candidates([&](std::int64_t first, std::int64_t count) {
        multiply({.a = chunk.scores + first,
                  .b = weight + first * channels,
                  .added = first > 0 ? hidden : nullptr,
                  .c = hidden,
                  .rows = chunk.rows,
                  .columns = channels,
                  .depth = count,
                  .a_stride = chunk.stride});
      });
    }
  }

  SoftmaxProblem<T> problem_;
  Candidates<T> candidates_;
  CountedRows listing_{};
  LossRows<T> rows_{};
  ScoreChunk<T> chunk_{};
  T* gathered_ = nullptr;      ///< [S,C] rows of named candidates
  T* offsets_ = nullptr;       ///< [S] what is added to their scores
  T* column_sums_ = nullptr;   ///< [row parts, stride]
  T* column_parts_ = nullptr;  ///< of the sum of these
  MutableView library_;        ///< what products share
  std::size_t bytes_ = 0;
  bool packs_ = false;  ///< rows of C are whole packs, and aligned
  Stream stream_{};
};

template <class Args>
void run_loss(const Args& args, const ScoreChunkLimits& limits, Stream stream) {
  for_floating<Args>(args.hidden.dtype, [&]<class T>(T) {
    SoftmaxChunks<T>(problem_of<T>(args), limits).run(stream);
  });
}

template <class Args>
std::size_t loss_workspace(Args args, const ScoreChunkLimits& limits) {
  args.workspace = {};
  std::size_t bytes = 0;
  for_floating<Args>(args.hidden.dtype, [&]<class T>(T) {
    bytes = SoftmaxChunks<T>(problem_of<T>(args), limits).workspace_bytes();
  });
  return bytes;
}

}  // namespace

void softmax_loss_in_chunks(const SoftmaxLoss& args, const ScoreChunkLimits& limits,
                            Stream stream) {
  run_loss(args, limits, stream);
}
std::size_t softmax_loss_in_chunks_workspace(const SoftmaxLoss& args,
                                             const ScoreChunkLimits& limits) {
  return loss_workspace(args, limits);
}
void softmax_loss(const SoftmaxLoss& args, Stream stream) { run_loss(args, {}, stream); }
std::size_t softmax_loss_workspace(const SoftmaxLoss& args) { return loss_workspace(args, {}); }

void sampled_softmax_loss_in_chunks(const SampledSoftmaxLoss& args, const ScoreChunkLimits& limits,
                                    Stream stream) {
  run_loss(args, limits, stream);
}
std::size_t sampled_softmax_loss_in_chunks_workspace(const SampledSoftmaxLoss& args,
                                                     const ScoreChunkLimits& limits) {
  return loss_workspace(args, limits);
}
void sampled_softmax_loss(const SampledSoftmaxLoss& args, Stream stream) {
  run_loss(args, {}, stream);
}
std::size_t sampled_softmax_loss_workspace(const SampledSoftmaxLoss& args) {
  return loss_workspace(args, {});
}

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
