/// Segments of recurrent layers.

#include "refrain/kernels/recurrent.hpp"
#include "cuda/arena.hpp"

using namespace refrain;
using kernels::GruReset;
using test::Arena;

namespace {

struct SegmentSizes {
  explicit SegmentSizes(Arena& arena)
      : steps(arena.size(8)), batch(arena.size(70)), hidden(arena.size(130)) {}
  double scale() const { return 1 / std::sqrt(static_cast<double>(hidden)); }

  std::int64_t steps, batch, hidden;
};

}  // namespace

CUDA_ENTRY(LstmForward) {
  const SegmentSizes s(arena);
  const std::int64_t gates = 4 * s.hidden;
  const View weight = arena.normal({gates, s.hidden}, s.scale());
  return {.inputs = arena.normal({s.steps, s.batch, gates}),
          .shared = arena.coin() ? arena.normal({s.batch, gates}) : View(),
          .weight = weight,
          .packed = arena.coin() ? arena.packed(weight, true) : View(),
          .h0 = arena.normal({s.batch, s.hidden}),
          .c0 = arena.normal({s.batch, s.hidden}),
          .h = arena.output("h", {s.steps, s.batch, s.hidden}),
          .c = arena.maybe_output("c", {s.steps, s.batch, s.hidden}),
          .gates = arena.maybe_output("gates", {s.steps, s.batch, gates}),
          .c_last = arena.output("c_last", {s.batch, s.hidden})};
}

CUDA_ENTRY(LstmBackward) {
  const SegmentSizes s(arena);
  const std::int64_t gates = 4 * s.hidden;
  const View weight = arena.normal({gates, s.hidden}, s.scale());
  const bool add = arena.coin();
  return {.weight = weight,
          .packed = arena.coin() ? arena.packed(weight, false) : View(),
          .h0 = arena.normal({s.batch, s.hidden}),
          .c0 = arena.normal({s.batch, s.hidden}),
          .h = arena.normal({s.steps, s.batch, s.hidden}),
          .c = arena.normal({s.steps, s.batch, s.hidden}),
          .gates = arena.uniform({s.steps, s.batch, gates}, 0.05, 0.95),
          .dh = arena.coin() ? arena.normal({s.steps, s.batch, s.hidden}) : View(),
          .dc_last = arena.normal({s.batch, s.hidden}),
          .dinputs = arena.output("dinputs", {s.steps, s.batch, gates}),
          .dshared = arena.maybe_output("dshared", {s.batch, gates}),
          .dweight = add ? arena.changed("dweight", {gates, s.hidden})
                         : arena.output("dweight", {gates, s.hidden}),
          .dh0 = arena.maybe_output("dh0", {s.batch, s.hidden}),
          .dc0 = arena.maybe_output("dc0", {s.batch, s.hidden}),
          .add_dweight = add};
}

CUDA_ENTRY(GruForward) {
  const SegmentSizes s(arena);
  const std::int64_t gates = 3 * s.hidden;
  const GruReset reset = arena.one_of({GruReset::after, GruReset::before});
  const bool after = reset == GruReset::after;
  const View weight = arena.normal({gates, s.hidden}, s.scale());
  return {.inputs = arena.normal({s.steps, s.batch, gates}),
          .shared = arena.coin() ? arena.normal({s.batch, gates}) : View(),
          .weight = weight,
          .bias = arena.normal({gates}),
          .packed = after && arena.coin() ? arena.packed(weight, true) : View(),
          .h0 = arena.normal({s.batch, s.hidden}),
          .h = arena.output("h", {s.steps, s.batch, s.hidden}),
          .gates = arena.maybe_output("gates", {s.steps, s.batch, gates}),
          .u_n = after ? arena.maybe_output("u_n", {s.steps, s.batch, s.hidden}) : MutableView(),
          .reset = reset};
}

CUDA_ENTRY(GruBackward) {
  const SegmentSizes s(arena);
  const std::int64_t gates = 3 * s.hidden;
  const GruReset reset = arena.one_of({GruReset::after, GruReset::before});
  const bool after = reset == GruReset::after;
  const View weight = arena.normal({gates, s.hidden}, s.scale());
  const bool add = arena.coin();
  return {.weight = weight,
          .packed = after && arena.coin() ? arena.packed(weight, false) : View(),
          .h0 = arena.normal({s.batch, s.hidden}),
          .h = arena.normal({s.steps, s.batch, s.hidden}),
          .gates = arena.uniform({s.steps, s.batch, gates}, 0.05, 0.95),
          .u_n = after ? arena.normal({s.steps, s.batch, s.hidden}) : View(),
          .dh = arena.normal({s.steps, s.batch, s.hidden}),
          .dinputs = arena.output("dinputs", {s.steps, s.batch, gates}),
          .dshared = arena.maybe_output("dshared", {s.batch, gates}),
          .dweight = add ? arena.changed("dweight", {gates, s.hidden})
                         : arena.output("dweight", {gates, s.hidden}),
          .dbias = add ? arena.changed("dbias", {gates}) : arena.output("dbias", {gates}),
          .dh0 = arena.maybe_output("dh0", {s.batch, s.hidden}),
          .add_dweight = add,
          .reset = reset};
}
