/// Whole steps of the models: training, inference, inference of one sequence, and their growth with
/// time steps, channels and items.
///
/// model_steps.hpp defines a step. 8 blocks (NextItNet, PeterRec); H = C, E = C / 2, W = C
/// (recurrent models). See run.sh.

#include "model_steps.hpp"
#include "support.hpp"

namespace {

using namespace refrain;

/// Registers one benchmark, named after its request.
void add(const bench::ModelRequest& request) {
  const std::string name = refrain::detail::concat(
      request.model, "/", request.mode, "/B:", request.batch, "/T:", request.time,
      "/C:", request.channels, "/V:", request.items,
      request.slots > 0 ? refrain::detail::concat("/m:", request.slots) : "");
  benchmark::RegisterBenchmark(
      name.c_str(),
      [request](benchmark::State& state) {
        const std::shared_ptr<bench::ModelStep> step = bench::make_model_step(request);
        step->run();
        pool_reset_peak();
        for (auto _ : state) step->run();
        bench::report(state, step->flops, 0);
        state.counters["sequences"] = benchmark::Counter(
            static_cast<double>(request.batch), benchmark::Counter::kIsIterationInvariantRate);
        state.counters["MiB"] = static_cast<double>(pool_stats().peak_used_bytes) / 1048576.0;
      })
      ->Unit(benchmark::kMillisecond)
      ->UseRealTime();
}

void add_all() {
  constexpr std::int64_t items = 10'670;
  const char* const convolutions[] = {"nextitnet", "peterrec-serial", "peterrec-parallel",
                                      "fine-all"};
  for (const char* model : convolutions) {
    for (const std::int64_t channels : {64, 256}) {
      add({.model = model,
           .mode = "train",
           .batch = 128,
           .time = 50,
           .channels = channels,
           .items = items});
      add({.model = model,
           .mode = "infer",
           .batch = 128,
           .time = 50,
           .channels = channels,
           .items = items});
    }
    add({.model = model, .mode = "infer", .batch = 1, .time = 50, .channels = 64, .items = items});
  }
  for (const char* model : {"srmn", "cmnrec"}) {
    for (const char* mode : {"train", "train-sampled", "infer"}) {
      add({.model = model,
           .mode = mode,
           .batch = 128,
           .time = 50,
           .channels = 256,
           .items = items,
           .slots = 9});
    }
    add({.model = model,
         .mode = "infer",
         .batch = 1,
         .time = 50,
         .channels = 256,
         .items = items,
         .slots = 9});
  }
  for (const char* model : {"lstm4rec", "gru4rec"}) {
    for (const char* mode : {"train", "infer"}) {
      add({.model = model,
           .mode = mode,
           .batch = 128,
           .time = 50,
           .channels = 256,
           .items = items});
    }
    add({.model = model, .mode = "infer", .batch = 1, .time = 50, .channels = 256, .items = items});
  }
  // Growth with T, V and C.
  for (const std::int64_t time : {10, 20, 100, 200}) {
    add({.model = "nextitnet",
         .mode = "train",
         .batch = 32,
         .time = time,
         .channels = 64,
         .items = items});
    add({.model = "cmnrec",
         .mode = "train",
         .batch = 32,
         .time = time,
         .channels = 256,
         .items = items,
         .slots = 9});
  }
  for (const std::int64_t more : {30'000, 100'000, 300'000}) {
    add({.model = "nextitnet",
         .mode = "train",
         .batch = 32,
         .time = 20,
         .channels = 64,
         .items = more});
  }
  for (const std::int64_t channels : {32, 128, 512}) {
    add({.model = "nextitnet",
         .mode = "train",
         .batch = 32,
         .time = 20,
         .channels = channels,
         .items = items});
  }
}

}  // namespace

int main(int argc, char** argv) {
  add_all();
  return refrain::bench::run_suite(argc, argv);
}
