#pragma once
/// Shared code of the suites: counted work, and the peak performance of the machine.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>

#include "random_inputs.hpp"
#include "refrain/core/isa.hpp"
#include "refrain/ops/matmul.hpp"
#include "refrain/ops/packed.hpp"

namespace refrain::bench {

/// Minimum duration of several runs, in seconds.
inline double best_seconds(int runs, const std::function<void()>& run) {
  double best = 1e30;
  for (int i = 0; i < runs; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    run();
    best = std::min(
        best, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  return best;
}

/// Peak performance of all threads: the faster of our two products of 2048 x 2048 matrices, and a
/// copy of 256 MiB (reads and writes counted). Measured once, at the first request.
struct Ceilings {
  double flops_per_s;
  double bytes_per_s;

  static const Ceilings& here() {
    static const Ceilings ceilings = measure();
    return ceilings;
  }

 private:
  static Ceilings measure() {
    const NoGrad off;
    constexpr std::int64_t n = 2048;
    Random random(1);
    const Variable a(normal({n, n}, random));
    const Variable b(normal({n, n}, random));
    const PackedWeight packed = pack(b);
    const double seconds =
        std::min(best_seconds(5, [&] { benchmark::DoNotOptimize(matmul(a, b)); }),
                 best_seconds(5, [&] { benchmark::DoNotOptimize(packed_linear(a, packed)); }));
    const Tensor from = Tensor::full({64 << 20}, 1, DType::f32);
    Tensor to(from.shape(), DType::f32);
    const double copied = best_seconds(5, [&] {
      parallel_for(from.numel(), 1 << 20, [&](std::int64_t begin, std::int64_t end) {
        std::memcpy(to.data<float>() + begin, from.data<float>() + begin,
                    sizeof(float) * static_cast<std::size_t>(end - begin));
      });
    });
    return {2.0 * n * n * n / seconds, 2.0 * static_cast<double>(from.bytes()) / copied};
  }
};

/// Rates of one benchmark: required multiplications and additions in 1e9 per second, and bytes in
/// 1e9 per second. bench/table.py computes their share of the peaks.
inline void report(benchmark::State& state, double flops, double bytes) {
  const auto rate = benchmark::Counter::kIsIterationInvariantRate;
  if (flops > 0) state.counters["GFLOP"] = benchmark::Counter(flops / 1e9, rate);
  if (bytes > 0) state.counters["GB"] = benchmark::Counter(bytes / 1e9, rate);
}

/// Runs the registered benchmarks; the context of a JSON output describes the machine.
inline int run_suite(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  const Ceilings& ceilings = Ceilings::here();
  benchmark::AddCustomContext("cpu_isa", cpu_isa());
  benchmark::AddCustomContext("threads", refrain::detail::concat(threads()));
  benchmark::AddCustomContext("ceiling_GFLOP/s",
                              refrain::detail::concat(ceilings.flops_per_s / 1e9));
  benchmark::AddCustomContext("ceiling_GB/s", refrain::detail::concat(ceilings.bytes_per_s / 1e9));
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}

}  // namespace refrain::bench
