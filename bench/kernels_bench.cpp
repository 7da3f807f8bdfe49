/// Single kernels: time, GFLOP/s and GB/s of the required arithmetic and memory traffic, and their
/// share of the machine's peak.
///
/// Shapes are batch * steps rows by channels; B = 128 unless stated otherwise. See run.sh.

#include "refrain/autograd/tape.hpp"
#include "refrain/nn/conv_block.hpp"
#include "refrain/nn/embedding.hpp"
#include "refrain/nn/layer_norm.hpp"
#include "refrain/nn/loss.hpp"
#include "refrain/nn/memory.hpp"
#include "refrain/nn/patch.hpp"
#include "refrain/nn/recurrent.hpp"
#include "refrain/ops/pointwise.hpp"
#include "refrain/ops/softmax_loss_of_bank.hpp"
#include "refrain/ops/steps.hpp"
#include "refrain/ops/top_k.hpp"
#include "support.hpp"

namespace {

using namespace refrain;
using bench::normal;
using bench::random_ids;
using bench::report;

constexpr std::int64_t batch = 128;
constexpr double element = sizeof(float);

/// Times the benchmark in milliseconds of wall-clock time, since several threads work.
void timed(benchmark::internal::Benchmark* line) {
  line->Unit(benchmark::kMillisecond)->UseRealTime();
}

// ---- the peaks ----

void product(benchmark::State& state) {
  Random random(1);
  const std::int64_t n = state.range(0);
  const Variable a(normal({n, n}, random));
  const Variable b(normal({n, n}, random));
  for (auto _ : state) benchmark::DoNotOptimize(matmul(a, b));
  report(state, 2.0 * static_cast<double>(n * n * n), 0);
}
BENCHMARK(product)->ArgName("n")->Arg(2048)->Apply(timed);

void packed_product(benchmark::State& state) {
  const NoGrad off;
  Random random(1);
  const std::int64_t n = state.range(0);
  const Variable a(normal({n, n}, random));
  const PackedWeight b = pack(Variable(normal({n, n}, random)));
  for (auto _ : state) benchmark::DoNotOptimize(packed_linear(a, b));
  report(state, 2.0 * static_cast<double>(n * n * n), 0);
}
BENCHMARK(packed_product)->ArgName("n")->Arg(2048)->Apply(timed);

// ---- convolution ----

/// One residual block.
void conv_block(benchmark::State& state, bool train) {
  Random random(1);
  const std::int64_t steps = state.range(0);
  const std::int64_t channels = state.range(1);
  const ConvBlock block({.channels = channels, .dilation = state.range(2)}, random);
  const Variable x(normal({batch, steps, channels}, random), train);
  const Tensor upstream = normal({batch, steps, channels}, random);
  for (auto _ : state) {
    const Variable y = block(x);
    if (train) backward(y, upstream);
  }
  const double rows = static_cast<double>(batch * steps);
  const double forward = 2 * 2 * 3 * rows * static_cast<double>(channels * channels);
  report(state, train ? 3 * forward : forward,
         (train ? 12 : 3) * element * rows * static_cast<double>(channels));
}
void conv_shapes(benchmark::internal::Benchmark* line) {
  line->ArgNames({"T", "C", "d"});
  for (const std::int64_t channels : {32, 64, 128, 256, 512}) line->Args({50, channels, 1});
  for (const std::int64_t steps : {10, 100, 200, 1000}) line->Args({steps, 64, 1});
  for (const std::int64_t dilation : {4, 16}) line->Args({50, 64, dilation});
}
BENCHMARK_CAPTURE(conv_block, forward, false)->Apply(conv_shapes)->Apply(timed);
BENCHMARK_CAPTURE(conv_block, forward_backward, true)->Apply(conv_shapes)->Apply(timed);

// ---- patch, normalization, embedding ----

void patch_forward_backward(benchmark::State& state) {
  Random random(1);
  const std::int64_t channels = state.range(0);
  const Patch patch({.channels = channels, .start = PatchStart::random}, random);
  const Variable x(normal({50 * batch, channels}, random), true);
  const Tensor upstream = normal(x.shape(), random);
  for (auto _ : state) backward(patch(x), upstream);
  const double size = static_cast<double>(x.value().numel());
  report(state, 12 * size * static_cast<double>(channels / 4), 5 * element * size);
}
BENCHMARK(patch_forward_backward)->ArgName("C")->Arg(64)->Arg(256)->Apply(timed);

void layer_norm_forward_backward(benchmark::State& state) {
  Random random(1);
  LayerNorm norm({.channels = state.range(0)});
  const Variable x(normal({50 * batch, state.range(0)}, random), true);
  const Tensor upstream = normal(x.shape(), random);
  for (auto _ : state) backward(norm(x), upstream);
  const double size = static_cast<double>(x.value().numel());
  report(state, 20 * size, 6 * element * size);
}
BENCHMARK(layer_norm_forward_backward)->ArgName("C")->Arg(64)->Arg(256)->Apply(timed);

void embedding_forward_backward(benchmark::State& state) {
  Random random(1);
  const Embedding table({.count = state.range(0), .width = 64}, random);
  const Tensor ids = random_ids({50 * batch}, state.range(0), random);
  const Tensor upstream = normal({50 * batch, 64}, random);
  for (auto _ : state) {
    backward(table(ids), upstream);
    Parameter weight = table.weight();
    weight.zero_grad();
  }
  report(state, 0, 4 * element * static_cast<double>(upstream.numel()));
}
BENCHMARK(embedding_forward_backward)->ArgName("V")->Arg(10'000)->Arg(1'000'000)->Apply(timed);

// ---- losses ----

/// Computes all gradients. Also reports the peak memory.
void softmax_loss_step(benchmark::State& state) {
  Random random(1);
  const std::int64_t rows = state.range(0);
  const std::int64_t channels = state.range(1);
  const std::int64_t items = state.range(2);
  const Linear head({.in = channels, .out = items}, random);
  const Variable hidden(normal({rows, channels}, random), true);
  const Tensor targets = random_ids({rows}, items, random);
  pool_reset_peak();
  const std::int64_t before = pool_stats().used_bytes;
  for (auto _ : state) backward(softmax_loss(hidden, head, targets));
  report(state, 6 * static_cast<double>(rows * items) * static_cast<double>(channels),
         2 * element * static_cast<double>(items * channels));
  state.counters["MiB"] = static_cast<double>(pool_stats().peak_used_bytes - before) / 1048576.0;
}
BENCHMARK(softmax_loss_step)
    ->ArgNames({"P", "C", "V"})
    ->Args({2560, 64, 10'000})
    ->Args({2560, 64, 30'000})
    ->Args({2560, 64, 100'000})
    ->Args({256, 64, 1'000'000})
    ->Args({2560, 256, 10'000})
    ->Apply(timed);

/// The heads of many tasks with `rows` sequences each; computes all gradients.
void softmax_loss_of_bank_step(benchmark::State& state) {
  Random random(1);
  const std::int64_t tasks = state.range(0), rows = state.range(1);
  const std::int64_t channels = state.range(2), classes = state.range(3);
  Tensor of_row({tasks * rows}, DType::i32);
  for (std::int64_t i = 0; i < of_row.numel(); ++i)
    of_row.data<std::int32_t>()[i] = static_cast<std::int32_t>(1 + i / rows);
  const Tensor of_bank = Tensor::full({tasks + 1}, static_cast<double>(classes), DType::i32);
  const HeadParameters heads{Variable(normal({tasks + 1, classes, channels}, random), true),
                             Variable(normal({tasks + 1, classes}, random), true), of_row, of_bank};
  const Variable hidden(normal({tasks * rows, channels}, random), true);
  const Tensor targets = random_ids({tasks * rows}, classes, random);
  for (auto _ : state) {
    backward(softmax_loss_of_bank(hidden, heads, targets).sum);
    for (Variable gradient : {heads.weight, heads.bias, hidden}) gradient.zero_grad();
  }
  report(state, 6 * static_cast<double>(tasks * rows * classes) * static_cast<double>(channels),
         2 * element * static_cast<double>(tasks * (rows + classes) * channels));
}
BENCHMARK(softmax_loss_of_bank_step)
    ->ArgNames({"G", "P/G", "C", "V"})
    ->Args({1000, 1, 64, 2})
    ->Args({40, 64, 64, 20})
    ->Apply(timed);

// ---- recurrent segment, memory ----

void lstm_segment_step(benchmark::State& state, bool train) {
  Random random(1);
  const std::int64_t rows = state.range(0);
  const std::int64_t steps = state.range(1);
  const std::int64_t hidden = state.range(2);
  Lstm lstm({.in = hidden / 2, .hidden = hidden}, random);
  const Variable x(normal({steps, rows, hidden / 2}, random), train);
  const Tensor upstream = normal({steps, rows, hidden}, random);
  const double multiplied =
      static_cast<double>(steps * rows * 4 * hidden) * static_cast<double>(hidden + hidden / 2);
  const double weight_bytes = element * static_cast<double>(4 * hidden * hidden * steps);
  if (train) {
    for (auto _ : state) backward(lstm.time_major(x).y, upstream);
  } else {
    const NoGrad off;
    const auto weights = lstm.pack();
    for (auto _ : state) {
      Lstm::State start = lstm.initial(rows);
      benchmark::DoNotOptimize(lstm.run(lstm.project(x, weights), {}, start, weights));
    }
  }
  report(state, (train ? 6 : 2) * multiplied, weight_bytes);
}
void lstm_shapes(benchmark::internal::Benchmark* line) {
  line->ArgNames({"B", "L", "H"});
  for (const std::int64_t steps : {10, 50, 100, 200}) line->Args({batch, steps, 256});
  for (const std::int64_t hidden : {64, 128}) line->Args({batch, 50, hidden});
}
BENCHMARK_CAPTURE(lstm_segment_step, forward, false)
    ->Apply(lstm_shapes)
    ->Args({1, 50, 256})
    ->Apply(timed);
BENCHMARK_CAPTURE(lstm_segment_step, forward_backward, true)->Apply(lstm_shapes)->Apply(timed);

void memory_step_line(benchmark::State& state, bool train) {
  Random random(1);
  const std::int64_t words = state.range(0);
  const std::int64_t width = state.range(1);
  Memory memory({.input = 8, .words = words, .word_size = width}, random);
  const Variable interface(normal({batch, memory_interface_size(1, width)}, random), train);
  MemoryState before = memory.initial(batch);
  const Tensor upstream = normal({batch, 1, width}, random);
  for (auto _ : state) {
    const MemoryState after = memory_step(interface, before);
    if (train) backward(after.read_vectors, upstream);
  }
  const double n = static_cast<double>(words), w = static_cast<double>(width),
               b = static_cast<double>(batch);
  report(state, b * n * ((train ? 51 : 15) * w + (train ? 27 : 8) * n),
         (train ? 6 : 2) * element * b * n * (w + n));
}
BENCHMARK_CAPTURE(memory_step_line, forward, false)
    ->ArgNames({"N", "W"})
    ->Args({12, 256})
    ->Args({128, 64})
    ->Apply(timed);
BENCHMARK_CAPTURE(memory_step_line, forward_backward, true)
    ->ArgNames({"N", "W"})
    ->Args({12, 256})
    ->Args({128, 64})
    ->Apply(timed);

// ---- ranking ----

void top_k_rows(benchmark::State& state) {
  Random random(1);
  const Tensor scores = normal({state.range(0), state.range(1)}, random);
  for (auto _ : state) benchmark::DoNotOptimize(top_k(scores, 20));
  report(state, 0, element * static_cast<double>(scores.numel()));
}
BENCHMARK(top_k_rows)
    ->ArgNames({"rows", "V"})
    ->Args({128, 10'000})
    ->Args({1, 1'000'000})
    ->Apply(timed);

}  // namespace

int main(int argc, char** argv) { return refrain::bench::run_suite(argc, argv); }
