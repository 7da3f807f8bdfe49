// Full and sampled softmax cross-entropy with their gradients on the GPU.  Device: f32 (by math_mode()), f64.
//   loss = mean over counted rows p of  log Z[p] - z[p,target],   Z[p] = sum_v exp(z[p,v]),   z[p,v] = h[p,:] . w[v,:] + offset[v]
//   d[p,v] = (exp(z[p,v]) / Z[p] - [v is the target]) / counted,   dh = d w,   dw = d^T h,   dbias[v] = sum_p d[p,v]
// Shapes: hidden [P,C]; weight [V,C].  Full: v runs over all V items.  Sampled: over S named rows of weight, which the products read where
// they lie; the target stands apart from them, with a score of its own.
//
// Only counted rows take part: their places are listed first (counted_rows.cuh); blocks past their number, which stays on the device, end
// at once.  The rows go through in chunks whose scores fit a fixed budget (score_chunk_limits.hpp).  For each chunk:
//   take_rows        [rows,C] taken together, relu applied; a sampled target's score           a warp per row
//   score_tiles      e = exp(z - m), m the largest of 64 items of a row; m and the sum of e    a block per 64 (tensor cores: 128)
//                                                                                              rows x 128 items
//   row_statistics   log Z, loss, and for each m the factor that makes d of e                  a warp per row
//   score_gradients  d in place of e; sums of d over 32 rows                                   a thread per 16 bytes of 32 rows
//   dhidden_tiles    d w over a part of the items                                              a block per 128 rows x 64 channels
//   write_rows       dh: the parts in order, relu's mask, the sampled target's share           a warp per row
//   sum_of_outer_products, sum_columns    dw and dbias, added to those of the chunks before
// and at the end mean_loss adds the rows' losses in order, in double.  Without gradients a chunk ends after row_statistics, and e is not
// written.  The exponential is taken once per score, and no score is computed twice.
//
// FLOPs 6 P V C with gradients, 2 P V C without.  Moved per chunk: w read twice, dw read and written; e written, replaced by d, and d read
// by the last two products once per 64 channels.  Limit: arithmetic from C of about 64 and chunks of some hundred rows on; with fewer
// rows memory, by w and dw.
// Sums in orders that depend on shapes alone.  P up to 2^31 - 1; any V, S, C.

#include "kernels/cuda.hpp"
#include "kernels/matmul/outer_products.cuh"
#include "kernels/rows/columns.cuh"
#include "kernels/rows/counted_rows.cuh"
#include "kernels/rows/score_chunk_limits.hpp"
#include "kernels/rows/score_chunks.cuh"
#include "kernels/scratch.hpp"

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
  LossRows<T> from;  ///< without index and first
  std::int64_t rows;
  std::int64_t ignored;
  T* loss;
  T* dweight;  ///< [candidates,C], or null
  T* dbias;    ///< [candidates], or null
  RowGradients<T> of_rows;
  void* workspace;

  bool gradients() const {
    return dweight != nullptr || dbias != nullptr || of_rows.dhidden != nullptr || of_rows.dtarget_weight != nullptr ||
           of_rows.dtarget_bias != nullptr;
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
          .from = {.hidden = args.hidden.as<T>(),
                   .targets = args.targets.as<std::int32_t>(),
                   .log_q_true = nullptr,
                   .index = nullptr,
                   .first = 0,
                   .relu = args.relu},
          .rows = args.hidden.shape[0],
          .ignored = args.ignored,
          .loss = args.loss.as<T>(),
          .dweight = args.dweight.as<T>(),
          .dbias = args.dbias.as<T>(),
          .of_rows = {.dhidden = args.dhidden.as<T>(), .dtarget_weight = nullptr, .dtarget_bias = nullptr},
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
          .from = {.hidden = args.hidden.as<T>(),
                   .targets = args.targets.as<std::int32_t>(),
                   .log_q_true = args.log_q_true.as<T>(),
                   .index = nullptr,
                   .first = 0,
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

/// How the candidates are cut for dhidden: enough blocks to fill a GPU, none with fewer than 512 candidates.
struct DhiddenCut {
  std::int64_t tiles;
  std::int64_t parts;
  std::int64_t items_per_part;
};
template <class T>
DhiddenCut dhidden_cut(std::int64_t rows, std::int64_t items, std::int64_t channels) {
  const std::int64_t tiles = over(rows, dhidden_shape<T>.rows) * over(channels, dhidden_shape<T>.columns);
  const std::int64_t wanted = std::clamp<std::int64_t>(512 / std::max<std::int64_t>(1, tiles), 1, 64);
  const std::int64_t items_per_part = std::max<std::int64_t>(512, over(over(items, wanted), 32) * 32);
  return {tiles, std::max<std::int64_t>(1, over(items, items_per_part)), items_per_part};
}

/// Plans the workspace and runs the chunks.
template <class T>
class SoftmaxChunks {
 public:
  SoftmaxChunks(const SoftmaxProblem<T>& problem, const ScoreChunkLimits& limits)
      : problem_(problem), candidates_(problem.candidates) {
    Scratch scratch(problem.workspace);
    const bool gradients = problem.gradients();
    const std::int64_t channels = candidates_.channels;
    chunk_.channels = channels;
    chunk_.stride = over(candidates_.count, simt::Pack<T>::count) * simt::Pack<T>::count;
    chunk_.spans = over(candidates_.count, score_span);
    const std::int64_t kept = gradients ? chunk_.stride + chunk_.stride / score_gradient_rows + channels : 0;
    const std::int64_t bytes_of_row = (kept + 2 * chunk_.spans + channels + 4) * static_cast<std::int64_t>(sizeof(T));
    chunk_.rows = limits.rows_of_chunk(problem.rows, bytes_of_row);

    index_ = scratch.take<std::int32_t>(problem.rows);
    losses_ = scratch.take<double>(problem.rows);
    counted_ = scratch.take<std::int64_t>(1);
    counted_parts_ = scratch.take<std::int64_t>(counting_threads);
    chunk_.counted = counted_;
    chunk_.present = scratch.take<std::int64_t>(1);
    chunk_.hidden = scratch.take<T>(chunk_.rows * channels);
    chunk_.targets = scratch.take<std::int32_t>(chunk_.rows);
    chunk_.target_scores = scratch.take<T>(chunk_.rows);
    chunk_.maxima = scratch.take<T>(chunk_.rows * chunk_.spans);
    chunk_.sums = scratch.take<T>(chunk_.rows * chunk_.spans);
    chunk_.dtarget = problem.target_apart ? scratch.take<T>(chunk_.rows) : nullptr;
    chunk_.scores = nullptr;
    if (gradients) {
      chunk_.scores = scratch.take<T>(chunk_.rows * chunk_.stride);
      if (problem.dbias != nullptr) column_sums_ = scratch.take<T>(column_sum_rows(chunk_.rows) * chunk_.stride);
      const std::int64_t last = chunk_.rows == 0 ? 0 : (problem.rows - 1) % chunk_.rows + 1;
      parts_ = scratch.take<T>(std::max(parts_of(chunk_.rows), parts_of(last)));
    }
    bytes_ = scratch.bytes();
  }

  std::size_t workspace_bytes() const { return bytes_; }

  void run(Stream stream) {
    stream_ = stream;
    index_counted_rows(problem_.name,
                       {.targets = problem_.from.targets,
                        .rows = problem_.rows,
                        .ignored = problem_.ignored,
                        .index = index_,
                        .counted = counted_,
                        .parts = counted_parts_},
                       stream);
    for_math_mode<T>([&]<MathMode mode>() {
      const bool whole_packs = candidates_.channels % simt::Pack<T>::count == 0 && simt::aligned_16(candidates_.weight);
      std::int64_t first = 0;
      do {  // without rows once, for the zeros
        const std::int64_t rows = std::min(chunk_.rows, problem_.rows - first);
        whole_packs ? run_chunk<mode, true>(first, rows) : run_chunk<mode, false>(first, rows);
        first += rows;
      } while (first < problem_.rows);
    });
    start(1, 256, mean_loss<T, 256>, losses_, counted_, problem_.loss);
  }

 private:
  static std::int64_t column_sum_rows(std::int64_t rows) { return over(rows, score_gradient_rows); }

  /// Elements for the parts of a gradient's sums over a chunk of `rows` rows: one gradient after the other uses them.
  std::int64_t parts_of(std::int64_t rows) const {
    const std::int64_t channels = chunk_.channels;
    std::int64_t parts = 0;
    if (problem_.of_rows.dhidden != nullptr) {
      parts = dhidden_cut<T>(rows, chunk_.stride, channels).parts * rows * channels;
    }
    if (problem_.dweight != nullptr) parts = std::max(parts, outer_parts(rows, candidates_.count, channels));
    if (problem_.dbias != nullptr) {
      parts = std::max(parts, column_parts(column_sum_rows(rows) + 1, candidates_.count, 1));  // and dbias so far
    }
    return parts;
  }

  template <class Kernel, class... Arguments>
  void start(std::int64_t blocks, int threads, Kernel kernel, const Arguments&... arguments) const {
    if (blocks == 0) return;
    simt::launch({.name = problem_.name,
                  .grid = simt::blocks_for(blocks, 1),
                  .block = static_cast<unsigned>(threads),
                  .stream = stream_},
                 kernel, arguments...);
  }

  template <MathMode mode, bool aligned>
  void run_chunk(std::int64_t first, std::int64_t rows) const {
    ScoreChunk<T> chunk = chunk_;
    chunk.rows = rows;
    LossRows<T> from = problem_.from;
    from.index = index_ + first;
    from.first = first;
    const std::int64_t row_blocks = over(rows, loss_warps);
    start(std::max<std::int64_t>(1, row_blocks), loss_warps * 32, take_rows<T>, from, candidates_, chunk);
    const std::int64_t tiles = over(rows, score_shape<T, mode>.rows) * over(candidates_.count, score_shape<T, mode>.columns);
    if (tiles > 0) {
      simt::launch({.name = problem_.name,
                    .grid = simt::blocks_for(tiles, 1),
                    .block = ScoreProduct<T, mode, aligned>::threads,
                    .shared_bytes = score_tiles_shared_bytes<T, mode, aligned>(),
                    .stream = stream_},
                   score_tiles<T, mode, aligned>, candidates_, chunk);
    }
    start(row_blocks, loss_warps * 32, row_statistics<T>, chunk, losses_ + first);
    if (chunk.scores == nullptr) return;
    start(over(chunk.stride, score_gradient_columns<T>) * column_sum_rows(rows), score_gradient_threads, score_gradients<T>,
          chunk, column_sums_);
    make_row_gradients<mode, aligned>(from, chunk, row_blocks);
    make_candidate_gradients(chunk, first > 0);
  }

  template <MathMode mode, bool aligned>
  void make_row_gradients(const LossRows<T>& from, const ScoreChunk<T>& chunk, std::int64_t row_blocks) const {
    const RowGradients<T>& to = problem_.of_rows;
    if (to.dhidden == nullptr && to.dtarget_weight == nullptr && to.dtarget_bias == nullptr) return;
    const DhiddenCut cut = dhidden_cut<T>(chunk.rows, chunk.stride, chunk.channels);
    if (to.dhidden != nullptr && cut.tiles > 0) {
      using Product = DhiddenProduct<T, mode, aligned>;
      simt::launch({.name = problem_.name,
                    .grid = dim3(simt::blocks_for(cut.tiles, 1), static_cast<unsigned>(cut.parts)),
                    .block = Product::threads,
                    .shared_bytes = Product::shared_bytes(),
                    .stream = stream_},
                   dhidden_tiles<T, mode, aligned>, candidates_, chunk, cut.items_per_part, parts_);
    }
    start(row_blocks, loss_warps * 32, write_rows<T>, from, candidates_, chunk, parts_, static_cast<int>(cut.parts), to);
  }

  void make_candidate_gradients(const ScoreChunk<T>& chunk, bool add) const {
    if (problem_.dweight != nullptr) {
      const OuterProducts<T, ScoreChunkRows<T>, ScoreChunkRows<T>> products{
          .a = {chunk.scores, chunk.stride},
          .b = {chunk.hidden, chunk.channels},
          .count = chunk.rows,
          .inner = candidates_.count,
          .columns = chunk.channels,
          .aligned = chunk.channels % simt::Pack<T>::count == 0,
          .padded_inner = chunk.stride,
          .present = chunk.present};
      sum_of_outer_products(problem_.name, products, add, problem_.dweight, parts_, stream_);
    }
    if (problem_.dbias != nullptr) {
      const std::int64_t rows = column_sum_rows(chunk.rows);
      const PartTerms<T> terms{.parts = column_sums_, .kept = problem_.dbias, .count = rows, .width = chunk.stride};
      sum_columns(problem_.name, terms, rows + (add ? 1 : 0), candidates_.count,
                  ColumnTargets<T, 1>{.to = {problem_.dbias}, .stride = 0}, parts_, stream_);
    }
  }

  SoftmaxProblem<T> problem_;
  Candidates<T> candidates_;
  ScoreChunk<T> chunk_{};
  std::int32_t* index_;          ///< [P] counted rows, then the others
  double* losses_;               ///< [P] of the counted rows
  std::int64_t* counted_;        ///< one element
  std::int64_t* counted_parts_;  ///< [counting_threads]
  T* column_sums_ = nullptr;     ///< [rows / 32, stride]
  T* parts_ = nullptr;           ///< of the sum under way
  std::size_t bytes_ = 0;
  Stream stream_{};
};

template <class Args>
void run_loss(const Args& args, const ScoreChunkLimits& limits, Stream stream) {
  for_floating<Args>(args.hidden.dtype, [&]<class T>(T) { SoftmaxChunks<T>(problem_of<T>(args), limits).run(stream); });
}

template <class Args>
std::size_t loss_workspace(Args args, const ScoreChunkLimits& limits) {
  args.workspace = {};
  std::size_t bytes = 0;
  for_floating<Args>(args.hidden.dtype,
                     [&]<class T>(T) { bytes = SoftmaxChunks<T>(problem_of<T>(args), limits).workspace_bytes(); });
  return bytes;
}

}  // namespace

void softmax_loss_in_chunks(const SoftmaxLoss& args, const ScoreChunkLimits& limits, Stream stream) {
  run_loss(args, limits, stream);
}
std::size_t softmax_loss_in_chunks_workspace(const SoftmaxLoss& args, const ScoreChunkLimits& limits) {
  return loss_workspace(args, limits);
}
void softmax_loss(const SoftmaxLoss& args, Stream stream) { run_loss(args, {}, stream); }
std::size_t softmax_loss_workspace(const SoftmaxLoss& args) { return loss_workspace(args, {}); }

void sampled_softmax_loss_in_chunks(const SampledSoftmaxLoss& args, const ScoreChunkLimits& limits, Stream stream) {
  run_loss(args, limits, stream);
}
std::size_t sampled_softmax_loss_in_chunks_workspace(const SampledSoftmaxLoss& args, const ScoreChunkLimits& limits) {
  return loss_workspace(args, limits);
}
void sampled_softmax_loss(const SampledSoftmaxLoss& args, Stream stream) { run_loss(args, {}, stream); }
std::size_t sampled_softmax_loss_workspace(const SampledSoftmaxLoss& args) { return loss_workspace(args, {}); }

}  // namespace REFRAIN_SIMT_BACKEND
}  // namespace refrain::kernels::cuda
