/// Kernels one by one: time, GFLOP/s and GB/s of the arithmetic and the memory traffic that the mathematics needs.
///
/// Shapes are rows = batch * steps by channels.  `product` and `copy` are the machine's ceilings as this library reaches them.

#include <benchmark/benchmark.h>

#include <cstring>
#include <vector>

#include "refrain/core/isa.hpp"
#include "refrain/nn/adapter.hpp"
#include "refrain/nn/conv_block.hpp"
#include "refrain/nn/embedding.hpp"
#include "refrain/nn/loss.hpp"
#include "refrain/ops/matmul.hpp"

namespace {

using namespace refrain;

Tensor normal(const Shape& shape, Random& random) {
  Tensor tensor(shape, DType::f32);
  random.fill_normal(tensor);
  return tensor;
}

void report(benchmark::State& state, double flops, double bytes) {
  const auto rate = benchmark::Counter::kIsIterationInvariantRate;
  state.counters["FLOP/s"] = benchmark::Counter(flops, rate);
  state.counters["bytes/s"] = benchmark::Counter(bytes, rate, benchmark::Counter::kIs1024);
}

void product(benchmark::State& state) {
  Random random(1);
  const std::int64_t n = state.range(0);
  const Variable a(normal({n, n}, random));
  const Variable b(normal({n, n}, random));
  for (auto _ : state) benchmark::DoNotOptimize(matmul(a, b));
  report(state, 2.0 * static_cast<double>(n * n * n), 12.0 * static_cast<double>(n * n));
}
BENCHMARK(product)->Arg(2048)->Unit(benchmark::kMillisecond)->UseRealTime();

void copy(benchmark::State& state) {
  const std::size_t bytes = std::size_t{256} << 20;
  std::vector<char> from(bytes, 1);
  std::vector<char> to(bytes);
  for (auto _ : state) {
    std::memcpy(to.data(), from.data(), bytes);
    benchmark::ClobberMemory();
  }
  report(state, 0, 2.0 * static_cast<double>(bytes));
}
BENCHMARK(copy)->Unit(benchmark::kMillisecond)->UseRealTime();

/// args: steps, channels, dilation, batch 128; one whole residual block.
void conv_block(benchmark::State& state, bool train) {
  Random random(1);
  const std::int64_t batch = 128;
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
  report(state, train ? 3 * forward : forward, (train ? 12 : 3) * 4 * rows * static_cast<double>(channels));
}
BENCHMARK_CAPTURE(conv_block, forward, false)
    ->ArgsProduct({{10, 50, 200}, {32, 64, 256, 512}, {1}})
    ->Args({50, 64, 4})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();
BENCHMARK_CAPTURE(conv_block, forward_backward, true)
    ->ArgsProduct({{10, 50, 200}, {32, 64, 256, 512}, {1}})
    ->Args({50, 64, 4})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

/// args: rows, channels
void adapter_step(benchmark::State& state) {
  Random random(1);
  const std::int64_t rows = state.range(0);
  const std::int64_t channels = state.range(1);
  const Adapter patch({.channels = channels, .start = AdapterStart::random}, random);
  const Variable x(normal({rows, channels}, random), true);
  const Tensor upstream = normal({rows, channels}, random);
  for (auto _ : state) backward(patch(x), upstream);
  const double size = static_cast<double>(rows * channels);
  report(state, 3 * size * static_cast<double>(channels), 20 * size);
}
BENCHMARK(adapter_step)->ArgsProduct({{6400}, {64, 256}})->Unit(benchmark::kMillisecond)->UseRealTime();

/// args: rows, channels, items
void softmax_loss_step(benchmark::State& state) {
  Random random(1);
  const std::int64_t rows = state.range(0);
  const std::int64_t channels = state.range(1);
  const std::int64_t items = state.range(2);
  const Linear head({.in = channels, .out = items}, random);
  const Variable hidden(normal({rows, channels}, random), true);
  Tensor targets({rows}, DType::i32);
  for (std::int32_t& id : targets.span<std::int32_t>()) id = static_cast<std::int32_t>(random.below(items));
  pool_reset_peak();
  const std::int64_t before = pool_stats().used_bytes;
  for (auto _ : state) backward(softmax_loss(hidden, head, targets));
  const double multiplied = static_cast<double>(rows * items) * static_cast<double>(channels);
  report(state, 6 * multiplied, 8 * static_cast<double>(items * channels));
  state.counters["peak_MiB"] = static_cast<double>(pool_stats().peak_used_bytes - before) / 1048576.0;
}
BENCHMARK(softmax_loss_step)
    ->Args({2560, 64, 10'000})
    ->Args({2560, 64, 100'000})
    ->Args({256, 64, 1'000'000})
    ->Args({2560, 256, 10'000})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

/// args: ids, channels, items
void embedding_step(benchmark::State& state) {
  Random random(1);
  const Embedding table({.count = state.range(2), .width = state.range(1)}, random);
  Tensor ids({state.range(0)}, DType::i32);
  for (std::int32_t& id : ids.span<std::int32_t>()) id = static_cast<std::int32_t>(random.below(state.range(2)));
  const Tensor upstream = normal({state.range(0), state.range(1)}, random);
  for (auto _ : state) {
    backward(table(ids), upstream);
    Parameter weight = table.weight();
    weight.zero_grad();
  }
  report(state, 0, 16 * static_cast<double>(state.range(0) * state.range(1)));
}
BENCHMARK(embedding_step)->Args({6400, 64, 10'000})->Args({6400, 64, 1'000'000})->Unit(benchmark::kMillisecond)->UseRealTime();

/// args: rows, items
void top_k_rows(benchmark::State& state) {
  Random random(1);
  const Tensor scores = normal({state.range(0), state.range(1)}, random);
  for (auto _ : state) benchmark::DoNotOptimize(top_k(scores, 20));
  report(state, 0, 4 * static_cast<double>(state.range(0) * state.range(1)));
}
BENCHMARK(top_k_rows)->Args({128, 10'000})->Args({1, 1'000'000})->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::AddCustomContext("cpu_isa", cpu_isa());
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
