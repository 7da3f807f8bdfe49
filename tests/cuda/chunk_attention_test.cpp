/// Attention over a chunk.

#include <cmath>

#include "cuda/arena.hpp"
#include "refrain/kernels/chunk_attention.hpp"

using namespace refrain;

CUDA_ENTRY(ChunkAttentionForward) {
  const std::int64_t length = arena.size(9), batch = arena.size(40), hidden = arena.size(130),
                     width = arena.size(70);
  return {.first = arena.normal({batch, hidden}),
          .rest = length > 1 ? arena.normal({length - 1, batch, hidden}) : View(),
          .weight = arena.normal({width, hidden}, 1 / std::sqrt(static_cast<double>(hidden))),
          .query = arena.normal({batch, width}),
          .score = arena.normal({width}),
          .out = arena.output("out", {batch, hidden}),
          .alpha = arena.maybe_output("alpha", {length, batch}),
          .tanh = arena.maybe_output("tanh", {length, batch, width})};
}

CUDA_ENTRY(ChunkAttentionBackward) {
  const std::int64_t length = arena.size(9), batch = arena.size(40), hidden = arena.size(130),
                     width = arena.size(70);
  return {.first = arena.normal({batch, hidden}),
          .rest = length > 1 ? arena.normal({length - 1, batch, hidden}) : View(),
          .weight = arena.normal({width, hidden}, 1 / std::sqrt(static_cast<double>(hidden))),
          .score = arena.normal({width}),
          .alpha = arena.uniform({length, batch}, 0, 2 / static_cast<double>(length)),
          .tanh = arena.uniform({length, batch, width}, -1, 1),
          .dout = arena.normal({batch, hidden}),
          .dfirst = arena.maybe_output("dfirst", {batch, hidden}),
          .drest =
              length > 1 ? arena.maybe_output("drest", {length - 1, batch, hidden}) : MutableView(),
          .dweight = arena.maybe_output("dweight", {width, hidden}),
          .dquery = arena.output("dquery", {batch, width}),
          .dscore = arena.maybe_output("dscore", {width})};
}
