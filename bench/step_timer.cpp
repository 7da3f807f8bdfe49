/// Times single steps of a model on request, so that a driver can alternate between this and
/// another implementation.
///
///   step_timer MODEL MODE BATCH TIME CHANNELS ITEMS [SLOTS]        MODEL, MODE: model_steps.hpp
///
/// REFRAIN_DEVICE=cuda in the environment puts model and batch on the GPU; a step ends when the GPU
/// has finished it. On the GPU REFRAIN_MATH selects the arithmetic of f32 products (exact, tf32,
/// bf16), and REFRAIN_RECORDED=1 captures the step and replays it. For each line on standard input
/// the program runs one step and prints its milliseconds; `peak` prints the pool's peak bytes,
/// `loss` the last loss, `flops` the multiplications and additions counted for a step.

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <string>

#include "model_steps.hpp"
#include "refrain/core/math_mode.hpp"
#include "refrain/core/stream.hpp"

int main(int argc, char** argv) {
  using namespace refrain;
  if (argc != 7 && argc != 8) {
    std::cerr
        << "usage: step_timer MODEL train|train-sampled|infer BATCH TIME CHANNELS ITEMS [SLOTS]\n";
    return 2;
  }
  try {
    const auto setting = [](const char* variable) {
      const char* given = std::getenv(variable);
      return std::string(given != nullptr ? given : "");
    };
    const Device device = setting("REFRAIN_DEVICE") == "cuda" ? Device::cuda : Device::cpu;
    for (const MathMode mode : {MathMode::exact, MathMode::tf32, MathMode::bf16}) {
      if (setting("REFRAIN_MATH") == name(mode)) set_math_mode(mode);
    }
    const auto number = [&](int at) { return static_cast<std::int64_t>(std::atoll(argv[at])); };
    const auto step = bench::make_model_step({.model = argv[1],
                                              .mode = argv[2],
                                              .batch = number(3),
                                              .time = number(4),
                                              .channels = number(5),
                                              .items = number(6),
                                              .slots = argc == 8 ? number(7) : 0,
                                              .device = device});
    if (setting("REFRAIN_RECORDED") == "1") bench::record(*step);
    std::string line;
    while (std::getline(std::cin, line)) {
      if (line == "peak") {
        std::cout << pool_stats(device).peak_used_bytes << std::endl;
      } else if (line == "loss") {
        std::cout << step->loss.item() << std::endl;
      } else if (line == "flops") {
        std::cout << step->flops << std::endl;
      } else {
        const auto begin = std::chrono::steady_clock::now();
        step->run();
        synchronize(device);
        std::cout << std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() -
                                                               begin)
                         .count()
                  << std::endl;
      }
    }
  } catch (const std::exception& error) {
    std::cerr << "step_timer: " << error.what() << '\n';
    return 1;
  }
  return 0;
}
