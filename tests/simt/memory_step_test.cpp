/// The memory step on CUDA, emulated, against loops in double and dual numbers, and the corners of
/// its formulas.

#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "refrain/kernels/memory.hpp"
#include "refrain/kernels/run.hpp"
#include "simt/memory_problems.hpp"
#include "support/simt/orders.hpp"
#include "support/simt/run_emulated.hpp"
#include "support/tensors.hpp"

using namespace refrain;
using namespace refrain::test;
using namespace refrain::test::memory_steps;

namespace {

template <class T>
Tensor tensor_of(const DeviceArray<T>& array) {
  const std::vector<double> values = array.doubles();
  return Tensor::from<double>(array.view().shape, std::span<const double>(values));
}

}  // namespace

TEMPLATE_TEST_CASE("cuda memory_step: forward is the naive loop, the same bits in every order",
                   "[simt][memory]", float, double) {
  using T = TestType;
  for (const MemorySize& size : memory_sizes) {
    INFO(size.batch << " x " << size.words << " words of " << size.width << ", " << size.heads
                    << " heads");
    const auto interface = random_array<T>(size.interface(), 1);
    const Arrays<T> before = lived_in<T>(size);
    const naive::MemoryParts expected = expected_step(size, interface, before);
    Arrays<T> first;
    for_each_order([&] {
      Arrays<T> after = step(size, interface, before);
      check_parts(after, expected);
      if (first.empty()) {
        first = std::move(after);
      } else {
        CHECK(same_parts(after, first));
      }
    });
  }
}

TEMPLATE_TEST_CASE(
    "cuda memory_step: backward is the derivative of the naive loop, the same bits in every order",
    "[simt][memory]", float, double) {
  using T = TestType;
  for (const MemorySize& size : memory_sizes) {
    INFO(size.batch << " x " << size.words << " words of " << size.width << ", " << size.heads
                    << " heads");
    const auto interface = random_array<T>(size.interface(), 1);
    const Arrays<T> before = lived_in<T>(size);
    const Arrays<T> after = step(size, interface, before);
    const Arrays<T> dafter = random_gradients<T>(size);
    const naive::MemoryParts expected = expected_gradients(size, interface, before, dafter);
    Arrays<T> first;
    for_each_order([&] {
      Arrays<T> got = step_back(size, interface, before, after, dafter);
      check_parts(got, expected);
      if (first.empty()) {
        first = std::move(got);
      } else {
        CHECK(same_parts(got, first));
      }
    });
  }
}

TEMPLATE_TEST_CASE("cuda memory_step: absent gradients are zero and unwanted ones are not written",
                   "[simt][memory]", float, double) {
  using T = TestType;
  const MemorySize size{2, 5, 6, 2, 0};
  const auto interface = random_array<T>(size.interface(), 1);
  const Arrays<T> before = lived_in<T>(size);
  const Arrays<T> after = step(size, interface, before);
  const Arrays<T> given = random_gradients<T>(size);
  const auto shapes = size.shapes();
  for (std::size_t only = 0; only < parts; ++only) {
    INFO("gradient " << only << " alone");
    Arrays<T> zeros;
    std::array<View, parts> upstream{};
    for (std::size_t i = 0; i < parts; ++i) {
      const auto zero = std::vector<T>(naive::at(shapes[i].numel()), T{0});
      zeros.emplace_back(
          shapes[i],
          i == only ? std::vector<T>(given[i].span().begin(), given[i].span().end()) : zero);
    }
    upstream[only] = given[only].view();
    const Arrays<T> expected = step_back(size, interface, before, after, zeros);
    for (const std::size_t further : {0, 1, 3}) {
      const std::size_t wanted = (only + further) % parts;
      INFO("output " << wanted << " alone");
      Arrays<T> out = empty_gradients<T>(size);
      std::array<MutableView, parts> to{};
      to[wanted] = out[wanted].mutable_view();
      run_emulated(backward_args(interface, before, after, upstream, to));
      CHECK(same_bytes(out[wanted], expected[wanted]));
    }
  }
}

TEMPLATE_TEST_CASE("cuda memory_step: equally used words are allocated by index", "[simt][memory]",
                   float, double) {
  using T = TestType;
  const MemorySize size{1, 37, 3, 1, 0};
  const Layout at(size);
  auto interface = random_array<T>(size.interface(), 1);
  set(interface, at.allocation_gate, 2, 200);  // the write gate follows
  Arrays<T> before = lived_in<T>(size);
  for (const std::size_t part : {std::size_t{4}, std::size_t{5}}) {
    std::fill_n(before[part].data(), before[part].span().size(), T{0});
  }
  for (const double used : {0.5, 0.0}) {
    std::fill_n(before[1].data(), size.words, static_cast<T>(used));
    for_each_order([&] {
      const Arrays<T> after = step(size, interface, before);
      for (std::int64_t n = 0; n < size.words; ++n) {
        CHECK(after[4].data()[n] ==
              static_cast<T>(used == 0 ? (n == 0 ? 1 : 0) : std::ldexp(0.5, -static_cast<int>(n))));
      }
    });
  }
}

TEMPLATE_TEST_CASE("cuda memory_step: saturated gates, zero vectors and duplicate keys",
                   "[simt][memory]", float, double) {
  using T = TestType;
  const MemorySize size{1, 9, 6, 3, 0};
  const Layout at(size);
  const Arrays<T> dafter = random_gradients<T>(size);
  for (const double gates : {-200.0, 200.0}) {
    for (const double allocation : {-200.0, 200.0}) {
      for (const bool zero_key : {false, true}) {
        INFO("gates " << gates << ", allocation gate " << allocation
                      << ", zero keys: " << zero_key);
        auto interface = random_array<T>(size.interface(), 1);
        set(interface, at.erase, size.width, gates);
        set(interface, at.free_gates, size.heads, gates);
        set(interface, at.allocation_gate, 1, allocation);
        set(interface, at.write_gate, 1, 200);
        set(interface, at.modes, 3 * size.heads, 0);
        set(interface, at.modes + 1, 1, gates);
        // Every head and the write ask for the same thing.
        for (std::int64_t c = 0; c < size.width; ++c) {
          const T element = zero_key ? T{0} : interface.data()[c];
          for (std::int64_t r = 0; r < size.heads; ++r)
            interface.data()[r * size.width + c] = element;
          interface.data()[at.write_key + c] = element;
        }
        Arrays<T> before = lived_in<T>(size);
        T* const words = before[0].data();
        std::fill_n(words, size.width, T{0});
        std::copy_n(words + size.width, size.width, words + 2 * size.width);
        before[1].data()[3] = 0;  // a product over usages that is zero,
        before[1].data()[4] = 1;  // and a word without room
        before[4].data()[3] = 0;
        // Words that two heads have read in full: products over heads with two factors of zero.
        for (std::int64_t r = 0; r < 2; ++r) {
          T* const reading = before[5].data() + r * size.words;
          std::fill_n(reading, size.words, T{0});
          reading[5] = 1;
        }
        const Arrays<T> after = step(size, interface, before);
        check_parts(after, expected_step(size, interface, before));
        check_parts(step_back(size, interface, before, after, dafter),
                    expected_gradients(size, interface, before, dafter));
      }
    }
  }
}

TEMPLATE_TEST_CASE("cuda memory_step: no NaN from huge raw values", "[simt][memory]", float,
                   double) {
  using T = TestType;
  const MemorySize size{1, 5, 4, 2, 0};
  const Layout at(size);
  for (const double huge : {-1e30, 1e30}) {
    auto interface = random_array<T>(size.interface(), 1);
    set(interface, size.heads * size.width, size.heads, huge);
    set(interface, at.write_strength, 1 + size.width, huge);
    set(interface, at.free_gates, size.heads + 2, huge);
    set(interface, at.modes, size.heads, huge);
    const Arrays<T> before = lived_in<T>(size);
    const Arrays<T> after = step(size, interface, before);
    CHECK(all_finite(after));
    CHECK(all_finite(step_back(size, interface, before, after, random_gradients<T>(size))));
  }
}

TEMPLATE_TEST_CASE(
    "cuda memory_step: large memories are the CPU's, wherever a block has its pieces",
    "[simt][memory]", float, double) {
  using T = TestType;
  constexpr std::int64_t scale = 8 / sizeof(T);
  struct Large {
    MemorySize size;
    bool scratch;  // even without the words, a block's pieces pass the shared memory of the
                   // emulated GPU
  };
  // Columns and words past a block's threads; words read where they lie; everything in the
  // scratch memory.
  const Large all[] = {{{1, 2, 300, 2, 0}, false},
                       {{1, 260, 2, 1, 0}, false},
                       {{2, 5, 2500 * scale, 1, 0}, false},
                       {{2, 2, 5500 * scale, 1, 0}, true}};
  for (const auto& [size, scratch] : all) {
    INFO(size.batch << " x " << size.words << " words of " << size.width << ", " << size.heads
                    << " heads");
    const auto interface = random_array<T>(size.interface(), 1);
    const Arrays<T> before = lived_in<T>(size);
    const Arrays<T> dafter = random_gradients<T>(size);
    // The CPU, in f64.
    std::vector<Tensor> old, upstream, renewed, gradients{Tensor(size.interface(), DType::f64)};
    const auto shapes = size.shapes();
    for (std::size_t i = 0; i < parts; ++i) {
      old.push_back(tensor_of(before[i]));
      upstream.push_back(tensor_of(dafter[i]));
      renewed.emplace_back(shapes[i], DType::f64);
      gradients.emplace_back(shapes[i], DType::f64);
    }
    const Tensor control = tensor_of(interface);
    const auto views_of = [](const std::vector<Tensor>& t) {
      return kernels::MemoryViews<View>{t[0].view(), t[1].view(), t[2].view(),
                                        t[3].view(), t[4].view(), t[5].view()};
    };
    const auto outputs_of = [](std::vector<Tensor>& t, std::size_t first) {
      return kernels::MemoryViews<MutableView>{
          t[first].mutable_view(),     t[first + 1].mutable_view(), t[first + 2].mutable_view(),
          t[first + 3].mutable_view(), t[first + 4].mutable_view(), t[first + 5].mutable_view()};
    };
    const ThreadCount alone(1);  // ThreadSanitizer does not see how the library's threads meet
    kernels::run<kernels::MemoryStepForward>({.interface = control.view(),
                                              .before = views_of(old),
                                              .after = outputs_of(renewed, 0),
                                              .read_vectors = renewed[6].mutable_view()});
    kernels::run<kernels::MemoryStepBackward>({.interface = control.view(),
                                               .before = views_of(old),
                                               .after = views_of(renewed),
                                               .dafter = views_of(upstream),
                                               .dread_vectors = upstream[6].view(),
                                               .dinterface = gradients[0].mutable_view(),
                                               .dbefore = outputs_of(gradients, 1)});
    Arrays<T> after = empty_arrays<T>(size);
    CHECK((scratch_bytes(forward_args(interface, before, after)) > 0) == scratch);
    after = step(size, interface, before);
    const Arrays<T> got = step_back(size, interface, before, after, dafter);
    for (std::size_t i = 0; i < parts; ++i) {
      INFO("part " << i);
      check_close<T>(after[i].span(), doubles(renewed[i]), tolerance::sum<T>);
      check_close<T>(got[i].span(), doubles(gradients[i]), tolerance::sum<T>);
    }
  }
}

TEST_CASE("cuda memory_step: a write and a read are one launch, their gradients another",
          "[simt][memory]") {
  for (const MemorySize& size : {MemorySize{2, 3, 256, 1, 0}, MemorySize{1, 12, 256, 2, 0}}) {
    INFO(size.words << " words of " << size.width);
    const auto interface = random_array<float>(size.interface(), 1);
    const Arrays<float> before = lived_in<float>(size);
    const std::int64_t start = simt::emulation::launches();
    const Arrays<float> after = step(size, interface, before);
    CHECK(simt::emulation::launches() == start + 1);
    check_parts(after, expected_step(size, interface, before));
    step_back(size, interface, before, after, random_gradients<float>(size));
    CHECK(simt::emulation::launches() == start + 2);
  }
}

TEST_CASE("cuda memory_step: refuses what a thread cannot count", "[simt][memory]") {
  const auto view = [](const Shape& shape) { return View{.data = nullptr, .shape = shape}; };
  const kernels::MemoryViews<View> memory{.words = view({1, 1 << 20, 2048}),
                                          .read_weightings = view({1, 1, 1 << 20})};
  CHECK_THROWS_AS(run_emulated<kernels::MemoryStepForward>({.before = memory}), Unsupported);
  CHECK_THROWS_AS(run_emulated<kernels::MemoryStepBackward>({.before = memory}), Unsupported);
}
