/// Entries on time-major sequences.

#include "refrain/kernels/steps.hpp"
#include "cuda/arena.hpp"

using namespace refrain;

namespace {

/// Ends of spans, strictly increasing up to `steps`.
std::vector<std::int64_t> span_ends(test::Arena& arena, std::int64_t steps) {
  std::vector<std::int64_t> ends;
  for (std::int64_t end = 1; end < steps; ++end) {
    if (arena.coin()) ends.push_back(end);
  }
  ends.push_back(steps);
  return ends;
}

}  // namespace

CUDA_ENTRY(SelectStep) {
  const std::int64_t batch = arena.size(60), steps = arena.size(30), width = arena.size(130);
  return {.x = arena.normal({batch, steps, width}),
          .y = arena.output("y", {batch, width}),
          .step = arena.below(steps)};
}

CUDA_ENTRY(SelectStepBackward) {
  const std::int64_t batch = arena.size(60), steps = arena.size(30), width = arena.size(130);
  return {.dy = arena.normal({batch, width}),
          .dx = arena.output("dx", {batch, steps, width}),
          .step = arena.below(steps)};
}

CUDA_ENTRY(SwapAxes) {
  const std::int64_t outer = arena.size(70), inner = arena.size(40), width = arena.size(130);
  return {.x = arena.normal({outer, inner, width}), .y = arena.output("y", {inner, outer, width})};
}

CUDA_ENTRY(AddSpans) {
  const std::int64_t steps = arena.size(30), batch = arena.size(20), width = arena.size(130);
  const std::vector<std::int64_t> ends = span_ends(arena, steps);
  return {.x = arena.normal({steps, batch, width}),
          .spans = arena.normal({static_cast<std::int64_t>(ends.size()), batch, width}),
          .ends = arena.ids_from(ends),
          .y = arena.output("y", {steps, batch, width})};
}

CUDA_ENTRY(SumSpans) {
  const std::int64_t steps = arena.size(30), batch = arena.size(20), width = arena.size(130);
  const std::vector<std::int64_t> ends = span_ends(arena, steps);
  return {.dy = arena.normal({steps, batch, width}),
          .ends = arena.ids_from(ends),
          .dspans = arena.output("dspans", {static_cast<std::int64_t>(ends.size()), batch, width})};
}
