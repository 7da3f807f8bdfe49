// A program and its plugin share one librefrain.so: a setting of one applies to the other, and an
// exception of one is caught by the other.
#include <cstdio>
#include <refrain/autograd/tape.hpp>

bool plugin_records();
void plugin_refuses();

int main() {
  if (!plugin_records()) return 1;
  const refrain::NoGrad off;
  if (plugin_records()) {
    std::puts("the program and its plugin have a NoGrad each");
    return 1;
  }
  try {
    plugin_refuses();
  } catch (const refrain::ShapeError& error) {
    std::printf("one NoGrad, caught from the %s\n", error.what());
    return 0;
  }
  return 1;
}
