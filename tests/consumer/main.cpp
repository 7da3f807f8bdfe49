// A user's program, which uses only the installed headers.
#include <cstdio>
#include <cstring>
#include <refrain/core/device.hpp>
#include <refrain/core/error.hpp>
#include <refrain/core/isa.hpp>
#include <refrain/core/parallel.hpp>
#include <refrain/ops/matmul.hpp>
#include <refrain/version.hpp>

int main() {
  using refrain::DType;
  using refrain::Tensor;
  if (!refrain::is_available(refrain::Device::cpu)) return 1;
  refrain::set_threads(2);
  // 21 terms of one each, 300 times 20: a kernel on two threads.
  const refrain::Variable product =
      matmul(refrain::Variable(Tensor::full({300, 21}, 1, DType::f32)),
             refrain::Variable(Tensor::full({21, 20}, 1, DType::f32)));
  for (const float element : product.value().span<float>()) {
    if (element != 21) return 1;
  }
  long long sum = 0;
  refrain::parallel_for(1, 1, [&](auto begin, auto end) { sum += 40 + begin + 2 * end; });
  char version[32];
  std::snprintf(version, sizeof version, "%d.%d.%d", REFRAIN_VERSION_MAJOR, REFRAIN_VERSION_MINOR,
                REFRAIN_VERSION_PATCH);
  if (std::strcmp(version, refrain::version()) != 0) return 1;
  try {
    refrain::set_threads(-1);
    return 1;
  } catch (const refrain::OptionError& error) {
    std::printf("%s: %lld threads=%d isa=%s, refused: %s\n", version, sum, refrain::threads(),
                refrain::cpu_isa(), error.what());
  }
  return sum == 42 ? 0 : 1;
}
