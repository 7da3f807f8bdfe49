/// Steps of the external memory.

#include "refrain/kernels/memory.hpp"
#include "cuda/arena.hpp"
#include "refrain/kernels/run.hpp"

using namespace refrain;
using test::Arena;

namespace {

/// Words have at least two elements: for one element the gradient of the cosine is a difference of
/// equal numbers, and a word near zero amplifies the rounding error.
struct MemorySizes {
  explicit MemorySizes(Arena& arena)
      : batch(arena.size(9)),
        words(arena.size(64)),
        word_size(1 + arena.size(69)),
        heads(arena.size(4)) {}
  Shape interface() const { return {batch, heads * word_size + 3 * word_size + 5 * heads + 3}; }

  std::int64_t batch, words, word_size, heads;
};

/// A memory whose weightings sum to less than one.
kernels::MemoryViews<View> memory(Arena& arena, const MemorySizes& s) {
  const double share = 1 / static_cast<double>(s.words);
  return {.words = arena.normal({s.batch, s.words, s.word_size}),
          .usage = arena.uniform({s.batch, s.words}, 0, 1),
          .precedence = arena.uniform({s.batch, s.words}, 0, share),
          .link = arena.uniform({s.batch, s.words, s.words}, 0, share),
          .write_weighting = arena.uniform({s.batch, s.words}, 0, share),
          .read_weightings = arena.uniform({s.batch, s.heads, s.words}, 0, share)};
}

kernels::MemoryViews<MutableView> memory_outputs(Arena& arena, const MemorySizes& s,
                                                 const std::string& prefix) {
  return {.words = arena.output(prefix + "words", {s.batch, s.words, s.word_size}),
          .usage = arena.output(prefix + "usage", {s.batch, s.words}),
          .precedence = arena.output(prefix + "precedence", {s.batch, s.words}),
          .link = arena.output(prefix + "link", {s.batch, s.words, s.words}),
          .write_weighting = arena.output(prefix + "write_weighting", {s.batch, s.words}),
          .read_weightings = arena.output(prefix + "read_weightings", {s.batch, s.heads, s.words})};
}

}  // namespace

CUDA_ENTRY_WITH(MemoryStepForward, {.tolerance = {1e-4, 1e-4}}) {
  const MemorySizes s(arena);
  return {.interface = arena.normal(s.interface()),
          .before = memory(arena, s),
          .after = memory_outputs(arena, s, "after."),
          .read_vectors = arena.output("read_vectors", {s.batch, s.heads, s.word_size})};
}

CUDA_ENTRY_WITH(MemoryStepBackward, {.tolerance = {3e-4, 3e-4}}) {
  const MemorySizes s(arena);
  // The saved values of the forward step are computed in f64 on the CPU.
  const std::uint64_t seed = static_cast<std::uint64_t>(arena.below(std::int64_t{1} << 40));
  Arena host(seed, DType::f64, Device::cpu);
  const View interface = host.normal(s.interface());
  const kernels::MemoryViews<View> before = memory(host, s);
  kernels::run<kernels::MemoryStepForward>(
      {.interface = interface,
       .before = before,
       .after = memory_outputs(host, s, ""),
       .read_vectors = host.output("read_vectors", {s.batch, s.heads, s.word_size})});
  const auto after = [&](std::size_t index) { return arena.copied(host.outputs()[index].second); };
  // The same inputs again, in this arena's dtype.
  Arena same(seed, arena.dtype(), Device::cpu);
  const auto given = [&](const View& view) {
    Tensor tensor(view.shape, view.dtype);
    copy_bytes(tensor.raw(), Device::cpu, view.data, Device::cpu, tensor.bytes());
    return arena.given(tensor);
  };
  const View interface_here = given(same.normal(s.interface()));
  const kernels::MemoryViews<View> made = memory(same, s);
  return {.interface = interface_here,
          .before = {.words = given(made.words),
                     .usage = given(made.usage),
                     .precedence = given(made.precedence),
                     .link = given(made.link),
                     .write_weighting = given(made.write_weighting),
                     .read_weightings = given(made.read_weightings)},
          .after = {.words = after(0),
                    .usage = after(1),
                    .precedence = after(2),
                    .link = after(3),
                    .write_weighting = after(4),
                    .read_weightings = after(5)},
          .dafter = {.words = arena.normal({s.batch, s.words, s.word_size}),
                     .usage = arena.coin() ? arena.normal({s.batch, s.words}) : View(),
                     .precedence = arena.coin() ? arena.normal({s.batch, s.words}) : View(),
                     .link = arena.coin() ? arena.normal({s.batch, s.words, s.words}) : View(),
                     .write_weighting = arena.coin() ? arena.normal({s.batch, s.words}) : View(),
                     .read_weightings =
                         arena.coin() ? arena.normal({s.batch, s.heads, s.words}) : View()},
          .dread_vectors = arena.normal({s.batch, s.heads, s.word_size}),
          .dinterface = arena.output("dinterface", s.interface()),
          .dbefore = memory_outputs(arena, s, "dbefore.")};
}
