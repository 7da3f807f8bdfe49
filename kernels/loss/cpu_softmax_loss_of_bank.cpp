/// The softmax loss of the heads of many tasks on the CPU: the rows of each head by
/// score_blocks.hpp, as softmax_loss computes them alone.
///
/// With at least as many heads as threads a thread computes whole heads, otherwise all threads
/// compute one head after the other; the bits are the same. 6 C V FLOPs for a row of a head with V
/// classes, 2 C V without gradients.

#include <algorithm>
#include <cstddef>

#include "kernels/kernel.hpp"
#include "kernels/loss/score_blocks.hpp"
#include "kernels/tiling/bank_segments.hpp"
#include "refrain/kernels/loss.hpp"

namespace refrain::kernels::cpu {
namespace {

template <class T>
class BankHeads {
 public:
  explicit BankHeads(const SoftmaxLossOfBank& args)
      : args_(args), widest_(args.bias.shape[1]), channels_(args.hidden.shape[1]) {}

  /// Plans the loss of a segment.
  ScoreBlocks<T> blocks(const BankSegment& segment, Scratch& scratch) const {
    return ScoreBlocks<T>(segment.end - segment.begin, classes(segment), channels_,
                          args_.dhidden || args_.dweight || args_.dbias, args_.smoothing > 0,
                          scratch);
  }

  /// Writes the outputs of a segment.
  void run(const BankSegment& segment, Scratch scratch) const {
    const std::int64_t rows = segment.end - segment.begin, count = classes(segment);
    const bool has_row = segment.gradient >= 0;
    const std::int64_t head = segment.row * widest_, gradient = segment.gradient * widest_;
    ScoreArgs<T> score;
    score.rows = count > 0 ? rows : 0;
    score.channels = channels_;
    score.items = count;
    score.hidden = args_.hidden.as<T>() + segment.begin * channels_;
    score.weight = args_.weight.as<T>() + head * channels_;
    score.offset = args_.bias.as<T>() + head;
    score.targets = args_.targets.as<std::int32_t>() + segment.begin;
    score.smoothing = args_.smoothing;
    if (args_.dhidden) score.dhidden = args_.dhidden.as<T>() + segment.begin * channels_;
    if (args_.dweight && has_row) score.dweight = args_.dweight.as<T>() + gradient * channels_;
    if (args_.dbias && has_row) score.doffset = args_.dbias.as<T>() + gradient;
    const T loss = static_cast<T>(blocks(segment, scratch).run(score));
    const T weight = args_.weights ? args_.weights.as<T>()[segment.row] : T(1);
    if (has_row) args_.losses.as<T>()[segment.gradient] = loss * weight;
    finish(score.dhidden, score.rows * channels_, rows * channels_, weight);
    finish(score.dweight, count * channels_, widest_ * channels_, weight);
    finish(score.doffset, count, widest_, weight);
  }

 private:
  std::int64_t classes(const BankSegment& segment) const {
    return segment.row == 0 ? 0 : args_.classes.as<std::int32_t>()[segment.row];
  }

  /// Multiplies the first `count` elements by the weight of the task, and sets those up to `all` to
  /// zero.
  static void finish(T* gradient, std::int64_t count, std::int64_t all, T weight) {
    if (gradient == nullptr) return;
    if (weight != T(1)) {
      for_lanes<T>(count, [&]<class L>(L, std::int64_t i) {
        L::store(gradient + i, L::load(gradient + i) * weight);
      });
    }
    std::fill_n(gradient + count, all - count, T(0));
  }

  const SoftmaxLossOfBank& args_;
  std::int64_t widest_;  ///< V
  std::int64_t channels_;
};

template <class T>
void compute(const SoftmaxLossOfBank& args, Scratch& scratch) {
  const BankHeads<T> heads(args);
  std::int64_t count = 0;
  std::size_t bytes = 0;  // of the segment that needs the most
  for_bank_segments(args.bank_rows, [&](const BankSegment& segment) {
    Scratch own;
    heads.blocks(segment, own);
    bytes = std::max(bytes, own.bytes());
    ++count;
  });
  constexpr std::size_t line = 64;
  bytes = (bytes + line - 1) / line * line;
  const bool is_parallel = count >= threads();
  BankSegment* const segments = scratch.take<BankSegment>(count);
  std::byte* const memory =
      scratch.take<std::byte>(static_cast<std::int64_t>(bytes) * (is_parallel ? threads() : 1));
  if (scratch.is_counting()) return;
  std::int64_t at = 0;
  for_bank_segments(args.bank_rows, [&](const BankSegment& segment) { segments[at++] = segment; });
  const auto run = [&](std::int64_t segment, int worker) {
    heads.run(segments[segment], Scratch(memory + static_cast<std::size_t>(worker) * bytes));
  };
  if (is_parallel) {
    parallel_tasks(count, run);
  } else {
    for (std::int64_t segment = 0; segment < count; ++segment) run(segment, 0);
  }
}

}  // namespace

template <>
void kernel(const SoftmaxLossOfBank& args, Scratch& scratch) {
  for_floating<SoftmaxLossOfBank>(args.hidden.dtype,
                                  [&]<class T>(T) { compute<T>(args, scratch); });
}

template void entry(const SoftmaxLossOfBank&, ScratchMemory&);

}  // namespace refrain::kernels::cpu
