/// Patches on CUDA, emulated, against loops in double, with their gradients.

#include "support/cases/convolution.hpp"
#include "support/simt/emulated_backend.hpp"

using namespace refrain;
using namespace refrain::test;

TEMPLATE_TEST_CASE("cuda patch: forward equals the naive loop", "[simt][patch]", float, double) {
  using T = TestType;
  struct Sized {
    PatchCase size;
    int offset;
  };
  for (const auto& [c, offset] :
       {Sized{{0, 4, 4}, 0}, Sized{{1, 1, 1}, 0}, Sized{{63, 8, 4}, 0}, Sized{{65, 64, 36}, 0},
        Sized{{3, 63, 33}, 0}, Sized{{2, 12, 8}, 1}, Sized{{3, 5, 0}, 0}, Sized{{2, 65, 7}, 0},
        Sized{{2, 68, 8}, 0}, Sized{{1, 132, 4}, 0}, Sized{{2, 260, 12}, 0},
        Sized{{1, 3, 700}, 0}}) {
    check_patch_forward<EmulatedBackend, T>(c, {.offset = offset});
    INFO(text(c));
    const bool one = c.channels <= (std::is_same_v<T, float> ? 256 : 64) && c.width < 700;
    const PatchProblem<EmulatedBackend, T> problem(c, offset);
    DeviceArray<T> y({c.rows, c.channels}), saved({c.rows, c.width});
    const std::int64_t launches = launches_of([&] { run_emulated(problem.args(y, saved)); });
    CHECK(launches == (c.rows == 0 ? 0 : one ? 1 : 3));
  }
}

TEST_CASE("cuda patch: on tensor cores", "[simt][patch]") {
  for (const MathMode mode : {MathMode::tf32, MathMode::bf16}) {
    const MathScope scope(mode);
    for (const std::int64_t channels : {20, 132}) {
      INFO(name(mode));
      check_patch_forward<EmulatedBackend, float>(
          {5, channels, 36}, {.choices = Choices::all, .allowed = tolerance_of<float>(mode)});
    }
  }
}

TEMPLATE_TEST_CASE("cuda patch: gradients equal the naive chain rule", "[simt][patch]", float,
                   double) {
  using T = TestType;
  // First f32 in one launch. Several launches: odd widths, too many channels, unaligned addresses.
  check_patch_backward<EmulatedBackend, T>({0, 4, 4});
  check_patch_backward<EmulatedBackend, T>({32, 8, 4});
  check_patch_backward<EmulatedBackend, T>({33, 64, 8}, {.choices = Choices::all});
  check_patch_backward<EmulatedBackend, T>({31, 68, 36}, {.choices = Choices::all});
  check_patch_backward<EmulatedBackend, T>({300, 4, 4}, {.choices = Choices::all});
  check_patch_backward<EmulatedBackend, T>({1, 1, 1});
  check_patch_backward<EmulatedBackend, T>({7, 31, 5});
  check_patch_backward<EmulatedBackend, T>({5, 3, 70});
  check_patch_backward<EmulatedBackend, T>({3, 260, 4}, {.choices = Choices::all});
  check_patch_backward<EmulatedBackend, T>({9, 8, 4}, {.offset = 1});
}

TEST_CASE("cuda patch: gradients on tensor cores", "[simt][patch]") {
  for (const MathMode mode : {MathMode::tf32, MathMode::bf16}) {
    const MathScope scope(mode);
    const RunOptions<float> options{.choices = Choices::all, .allowed = tolerance_of<float>(mode)};
    check_patch_backward<EmulatedBackend, float>({33, 40, 36}, options);
    check_patch_backward<EmulatedBackend, float>({9, 7, 5}, options);
  }
}
