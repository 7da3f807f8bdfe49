/// Runs one defective kernel in forward order, so that a sanitizer can detect the defect:
/// refrain_simt_planted NAME. Returns 0 when nothing stops it.

#include <cstdio>
#include <cstring>
#include <string>

#include "simt/planted.hpp"
#include "support/guarded_array.hpp"

using namespace refrain;
using namespace refrain::test;

int main(int argc, char** argv) {
  const std::string name = argc > 1 ? argv[1] : "";
  const std::vector<int> numbers(256, 1);
  const DeviceArray<int> in({256}, numbers);
  const DeviceArray<float> floats({128}, std::vector<float>(128, 1.0f));
  DeviceArray<int> out({64});
  DeviceArray<float> result({64});
  const std::size_t two_pieces = 2 * simt::piece_bytes<int>(20);
  const auto start = [&](int threads, auto kernel, auto... arguments) {
    simt::launch({.name = name.c_str(),
                  .grid = 1,
                  .block = static_cast<unsigned>(threads),
                  .shared_bytes = two_pieces},
                 kernel, arguments...);
  };
  if (name == "clean") {
    start(64, planted::neighbour<true>, in.data(), out.data());
    start(64, planted::pass_on<true>, in.data(), out.data());
    start(64, planted::sum_of_steps<true>, in.data(), out.data(), 4);
    start(32, planted::swap_pairs<planted::WarpOrder::syncwarp>, in.data(), out.data());
    start(32, planted::copied_tiles<1>, floats.data(), result.data());
    start(1, planted::write_fixed_shared, 31, out.data());
    start(1, planted::write_carved_shared, 20, 19, out.data());
    start(1, planted::write_global, 63, out.data());
    start(1, planted::read_float4, floats.data() + 4, result.data());
  } else if (name == "missing barrier") {
    start(64, planted::neighbour<false>, in.data(), out.data());
  } else if (name == "missing barrier, right result") {
    start(64, planted::pass_on<false>, in.data(), out.data());
  } else if (name == "missing trailing barrier") {
    start(64, planted::sum_of_steps<false>, in.data(), out.data(), 4);
  } else if (name == "missing syncwarp") {
    start(32, planted::swap_pairs<planted::WarpOrder::none>, in.data(), out.data());
  } else if (name == "shuffle for a syncwarp") {
    start(32, planted::swap_pairs<planted::WarpOrder::shuffle>, in.data(), out.data());
  } else if (name == "blocks collide") {
    simt::launch({.name = name.c_str(), .grid = 2, .block = 32}, planted::blocks_collide,
                 out.data());
  } else if (name == "past fixed shared memory") {
    start(1, planted::write_fixed_shared, 32, out.data());
  } else if (name == "past carved shared memory") {
    start(1, planted::write_carved_shared, 20, 20, out.data());
  } else if (name == "past global memory") {
    start(1, planted::write_global, 64, out.data());
  } else if (name == "misaligned float4") {
    start(1, planted::read_float4, floats.data() + 1, result.data());
  } else {
    std::fprintf(stderr, "unknown defect: %s\n", name.c_str());
    return 2;
  }
  std::printf("nothing was found\n");
  return 0;
}
