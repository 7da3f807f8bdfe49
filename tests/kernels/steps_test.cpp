/// One time step of sequences, and the same bytes for any number of threads.

#include "refrain/kernels/steps.hpp"
#include "refrain/kernels/run.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/naive.hpp"
#include "support/tensors.hpp"

using namespace refrain;
using namespace refrain::test;

TEMPLATE_TEST_CASE("select_step: picks a step, and its gradient puts it back", "[kernel][steps]",
                   float, double) {
  using T = TestType;
  const Shape shapes[] = {{0, 3, 2}, {1, 1, 1}, {3, 5, 7}, {64, 50, 64}, {4001, 3, 5}};
  for (const Shape& shape : shapes) {
    const std::int64_t batch = shape[0], steps = shape[1], width = shape[2];
    const Tensor x = random_tensor<T>(shape, 7);
    const Tensor dy = random_tensor<T>({batch, width}, 8);
    const auto x_values = doubles(x), dy_values = doubles(dy);
    for (const std::int64_t step : {std::int64_t{0}, steps / 2, steps - 1}) {
      const auto got = same_for_any_threads([&] {
        Tensor y = garbage<T>({batch, width}), dx = garbage<T>(shape);
        kernels::run<kernels::SelectStep>({.x = x.view(), .y = y.mutable_view(), .step = step});
        kernels::run<kernels::SelectStepBackward>(
            {.dy = dy.view(), .dx = dx.mutable_view(), .step = step});
        return std::vector<Tensor>{y, dx};
      });
      std::vector<double> y, dx(x_values.size());
      for (std::int64_t b = 0; b < batch; ++b) {
        for (std::int64_t c = 0; c < width; ++c) {
          const std::size_t place = naive::at((b * steps + step) * width + c);
          y.push_back(x_values[place]);
          dx[place] = dy_values[naive::at(b * width + c)];
        }
      }
      check_close<T>(got[0], y, tolerance::exact);
      check_close<T>(got[1], dx, tolerance::exact);
    }
  }
}
