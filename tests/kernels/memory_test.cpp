/// The memory step against loops in double, its gradients against dual numbers, and the corners of
/// its formulas.

#include <array>
#include <cmath>
#include <vector>

#include "refrain/kernels/memory.hpp"
#include "refrain/kernels/run.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/naive_memory_batch.hpp"
#include "support/tensors.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {

constexpr std::size_t part_count = naive::memory_parts;
using Parts = std::array<Tensor, part_count>;
using MemorySize = naive::MemoryBatchSize;

/// None, one of each, primes, vector length - 1, exact and + 1, several tasks.
const MemorySize memory_sizes[] = {{0, 3, 2, 1},  {1, 1, 1, 1},   {2, 1, 5, 3},   {3, 5, 1, 2},
                                   {2, 7, 11, 3}, {2, 15, 16, 1}, {2, 17, 33, 2}, {67, 16, 15, 2}};

kernels::MemoryViews<View> views(const Parts& p) {
  return {p[0].view(), p[1].view(), p[2].view(), p[3].view(), p[4].view(), p[5].view()};
}
kernels::MemoryViews<MutableView> mutable_views(Parts& p) {
  return {p[0].mutable_view(), p[1].mutable_view(), p[2].mutable_view(),
          p[3].mutable_view(), p[4].mutable_view(), p[5].mutable_view()};
}

/// A memory in the middle of its life: weightings that sum to less than one, no link from a word to
/// itself.
template <class T>
Parts lived_in(const MemorySize& size) {
  Parts memory;
  const auto shapes = size.shapes();
  for (std::size_t i = 0; i < part_count; ++i) {
    memory[i] = Tensor(shapes[i], dtype_of<T>);
    Random random(10 + i);
    if (i == 0) {
      random.fill_normal(memory[i]);
    } else {
      random.fill_uniform(memory[i], 0, i == 1 ? 1.0 : 1.0 / static_cast<double>(size.words));
    }
  }
  for (std::int64_t b = 0; b < size.batch; ++b) {
    for (std::int64_t n = 0; n < size.words; ++n)
      memory[3].data<T>()[(b * size.words + n) * size.words + n] = 0;
  }
  return memory;
}

template <class T>
Parts empty_parts(const MemorySize& size) {
  Parts out;
  const auto shapes = size.shapes();
  for (std::size_t i = 0; i < part_count; ++i) out[i] = garbage<T>(shapes[i]);
  return out;
}

template <class T>
Parts step(const MemorySize& size, const Tensor& interface, const Parts& before) {
  Parts after = empty_parts<T>(size);
  kernels::run<kernels::MemoryStepForward>({.interface = interface.view(),
                                            .before = views(before),
                                            .after = mutable_views(after),
                                            .read_vectors = after[6].mutable_view()});
  return after;
}

/// Gradients of the interface vector, then of the parts of the memory before.
template <class T>
std::vector<Tensor> step_back(const MemorySize& size, const Tensor& interface, const Parts& before,
                              const Parts& after, const Parts& dafter) {
  Tensor dinterface = garbage<T>(size.interface());
  Parts dbefore = empty_parts<T>(size);
  kernels::run<kernels::MemoryStepBackward>({.interface = interface.view(),
                                             .before = views(before),
                                             .after = views(after),
                                             .dafter = views(dafter),
                                             .dread_vectors = dafter[6].view(),
                                             .dinterface = dinterface.mutable_view(),
                                             .dbefore = mutable_views(dbefore)});
  return {dinterface, dbefore[0], dbefore[1], dbefore[2], dbefore[3], dbefore[4], dbefore[5]};
}

naive::MemoryParts parts_of(const Parts& tensors) {
  naive::MemoryParts out;
  for (std::size_t i = 0; i < part_count; ++i) out[i] = doubles(tensors[i]);
  return out;
}

template <class T>
void check_parts(const std::vector<Tensor>& got, const naive::MemoryParts& expected) {
  for (std::size_t i = 0; i < part_count; ++i) {
    INFO("part " << i);
    check_close<T>(got[i], expected[i], tolerance::sum<T>);
  }
}

template <class T>
void check_memory_forward(const MemorySize& size, const Tensor& interface, const Parts& before,
                          const std::vector<Tensor>& got) {
  check_parts<T>(got, naive::memory_step(size, doubles(interface), parts_of(before)));
}

template <class T>
void check_memory_backward(const MemorySize& size, const Tensor& interface, const Parts& before,
                           const Parts& dafter, const std::vector<Tensor>& got) {
  check_parts<T>(
      got, naive::memory_gradients(size, doubles(interface), parts_of(before), parts_of(dafter)));
}

template <class T>
Parts random_gradients(const MemorySize& size) {
  Parts out;
  const auto shapes = size.shapes();
  for (std::size_t i = 0; i < part_count; ++i) out[i] = random_tensor<T>(shapes[i], 30 + i);
  return out;
}

bool all_finite(const Tensor& tensor) {
  const auto values = doubles(tensor);
  return std::all_of(values.begin(), values.end(), [](double x) { return std::isfinite(x); });
}

/// Where the parts of one interface vector begin.
struct Layout {
  explicit Layout(const MemorySize& s)
      : write_key(s.heads * s.width + s.heads),
        write_strength(write_key + s.width),
        erase(write_strength + 1),
        free_gates(erase + 2 * s.width),
        allocation_gate(free_gates + s.heads),
        write_gate(allocation_gate + 1),
        modes(write_gate + 1) {}
  std::int64_t write_key, write_strength, erase, free_gates, allocation_gate, write_gate, modes;
};

template <class T>
void set(Tensor& interface, std::int64_t begin, std::int64_t count, double value) {
  for (std::int64_t b = 0; b < interface.size(0); ++b) {
    std::fill_n(interface.data<T>() + b * interface.size(1) + begin, count, static_cast<T>(value));
  }
}

}  // namespace

TEMPLATE_TEST_CASE("memory_step: forward is the naive loop", "[kernel][memory]", float, double) {
  using T = TestType;
  for (const MemorySize& size : memory_sizes) {
    INFO(size.batch << " x " << size.words << " words of " << size.width << ", " << size.heads
                    << " heads");
    const Tensor interface = random_tensor<T>(size.interface(), 1);
    const Parts before = lived_in<T>(size);
    const auto got = same_for_any_threads([&] {
      const Parts after = step<T>(size, interface, before);
      return std::vector<Tensor>(after.begin(), after.end());
    });
    check_memory_forward<T>(size, interface, before, got);
  }
}

TEMPLATE_TEST_CASE("memory_step: backward is the derivative of the naive loop", "[kernel][memory]",
                   float, double) {
  using T = TestType;
  for (const MemorySize& size : memory_sizes) {
    INFO(size.batch << " x " << size.words << " words of " << size.width << ", " << size.heads
                    << " heads");
    const Tensor interface = random_tensor<T>(size.interface(), 1);
    const Parts before = lived_in<T>(size);
    const Parts after = step<T>(size, interface, before);
    const Parts dafter = random_gradients<T>(size);
    const auto got =
        same_for_any_threads([&] { return step_back<T>(size, interface, before, after, dafter); });
    check_memory_backward<T>(size, interface, before, dafter, got);
  }
}

TEMPLATE_TEST_CASE("memory_step: absent gradients are zero and unwanted ones are not written",
                   "[kernel][memory]", float, double) {
  using T = TestType;
  const MemorySize size{3, 7, 5, 2};
  const Tensor interface = random_tensor<T>(size.interface(), 1);
  const Parts before = lived_in<T>(size);
  const Parts after = step<T>(size, interface, before);
  const Parts given = random_gradients<T>(size);
  for (std::size_t only = 0; only < part_count; ++only) {
    INFO("gradient " << only << " alone");
    Parts zeros;
    std::array<View, part_count> upstream{};
    const auto shapes = size.shapes();
    for (std::size_t i = 0; i < part_count; ++i)
      zeros[i] = i == only ? given[i] : Tensor::zeros(shapes[i], dtype_of<T>);
    upstream[only] = given[only].view();
    const auto expected = step_back<T>(size, interface, before, after, zeros);
    for (std::size_t wanted = 0; wanted < part_count; ++wanted) {
      INFO("output " << wanted << " alone");
      Tensor out = garbage<T>(expected[wanted].shape());
      std::array<MutableView, part_count> to{};
      to[wanted] = out.mutable_view();
      kernels::run<kernels::MemoryStepBackward>(
          {.interface = interface.view(),
           .before = views(before),
           .after = views(after),
           .dafter = {upstream[0], upstream[1], upstream[2], upstream[3], upstream[4], upstream[5]},
           .dread_vectors = upstream[6],
           .dinterface = to[0],
           .dbefore = {to[1], to[2], to[3], to[4], to[5], to[6]}});
      check_close<T>(out, doubles(expected[wanted]), tolerance::exact);
    }
  }
}

TEMPLATE_TEST_CASE("memory_step: equally used words are allocated by index", "[kernel][memory]",
                   float, double) {
  using T = TestType;
  const MemorySize size{2, 19, 3, 1};
  const Layout at(size);
  Tensor interface = random_tensor<T>(size.interface(), 1);
  set<T>(interface, at.allocation_gate, 2, 200);  // the write gate follows
  Parts before = lived_in<T>(size);
  before[4].zero();
  before[5].zero();
  before[1].fill(0.5);
  const Parts half = step<T>(size, interface, before);
  for (std::int64_t b = 0; b < size.batch; ++b) {
    for (std::int64_t n = 0; n < size.words; ++n) {
      CHECK(half[4].template data<T>()[b * size.words + n] ==
            static_cast<T>(std::ldexp(0.5, -static_cast<int>(n))));
    }
  }
  before[1].zero();
  const Parts unused = step<T>(size, interface, before);
  for (std::int64_t b = 0; b < size.batch; ++b) {
    for (std::int64_t n = 0; n < size.words; ++n) {
      CHECK(unused[4].template data<T>()[b * size.words + n] == static_cast<T>(n == 0 ? 1 : 0));
    }
  }
}

TEMPLATE_TEST_CASE("memory_step: saturated gates, zero vectors and duplicate keys",
                   "[kernel][memory]", float, double) {
  using T = TestType;
  const MemorySize size{2, 9, 6, 3};
  const Layout at(size);
  const Parts dafter = random_gradients<T>(size);
  for (const double gates : {-200.0, 200.0}) {
    for (const double allocation : {-200.0, 200.0}) {
      for (const bool zero_key : {false, true}) {
        INFO("gates " << gates << ", allocation gate " << allocation
                      << ", zero keys: " << zero_key);
        Tensor interface = random_tensor<T>(size.interface(), 1);
        set<T>(interface, at.erase, size.width, gates);
        set<T>(interface, at.free_gates, size.heads, gates);
        set<T>(interface, at.allocation_gate, 1, allocation);
        set<T>(interface, at.write_gate, 1, 200);
        set<T>(interface, at.modes, 3 * size.heads, 0);
        set<T>(interface, at.modes + 1, 1, gates);
        // Every head and the write ask for the same thing.
        for (std::int64_t b = 0; b < size.batch; ++b) {
          T* control = interface.data<T>() + b * interface.size(1);
          for (std::int64_t c = 0; c < size.width; ++c) {
            const T element = zero_key ? T{0} : control[c];
            for (std::int64_t r = 0; r < size.heads; ++r) control[r * size.width + c] = element;
            control[at.write_key + c] = element;
          }
        }
        Parts before = lived_in<T>(size);
        for (std::int64_t b = 0; b < size.batch; ++b) {
          T* words = before[0].template data<T>() + b * size.words * size.width;
          std::fill_n(words, size.width, T{0});
          std::copy_n(words + size.width, size.width, words + 2 * size.width);
          T* usage = before[1].template data<T>() + b * size.words;
          usage[3] = 0;  // a product over usages that is zero,
          usage[4] = 1;  // and a word without room
          T* written = before[4].template data<T>() + b * size.words;
          written[3] = 0;
          // Words that two heads have read in full: products over heads with two factors of zero.
          for (std::int64_t r = 0; r < 2; ++r) {
            T* readings = before[5].template data<T>() + (b * size.heads + r) * size.words;
            std::fill_n(readings, size.words, T{0});
            readings[5] = 1;
          }
        }
        const Parts after = step<T>(size, interface, before);
        check_memory_forward<T>(size, interface, before, {after.begin(), after.end()});
        check_memory_backward<T>(size, interface, before, dafter,
                                 step_back<T>(size, interface, before, after, dafter));
      }
    }
  }
}

TEMPLATE_TEST_CASE("memory_step: no NaN from huge raw values", "[kernel][memory]", float, double) {
  using T = TestType;
  const MemorySize size{1, 5, 4, 2};
  const Layout at(size);
  for (const double huge : {-1e30, 1e30}) {
    Tensor interface = random_tensor<T>(size.interface(), 1);
    set<T>(interface, size.heads * size.width, size.heads, huge);
    set<T>(interface, at.write_strength, 1 + size.width, huge);
    set<T>(interface, at.free_gates, 2 * size.heads + 2, huge);
    const Parts before = lived_in<T>(size);
    const Parts after = step<T>(size, interface, before);
    for (const Tensor& part : after) CHECK(all_finite(part));
  }
}

TEMPLATE_TEST_CASE("memory_step: 10,000 steps stay finite and within bounds", "[kernel][memory]",
                   float, double) {
  using T = TestType;
  const MemorySize size{2, 5, 4, 2};
  Parts memory;
  const auto shapes = size.shapes();
  for (std::size_t i = 0; i < part_count; ++i) {
    memory[i] = Tensor::full(shapes[i], i == 0 || i >= 4 ? 1e-6 : 0.0, dtype_of<T>);
  }
  Random random(5);
  Tensor interface(size.interface(), dtype_of<T>);
  bool finite = true;
  double least = 0;
  double most = 0;
  for (int i = 0; i < 10000; ++i) {
    random.fill_normal(interface, i % 3 == 0 ? 30 : 1);
    const Parts before = memory;
    memory = step<T>(size, interface, before);
    for (const Tensor& part : memory) finite = finite && all_finite(part);
    if (i % 10 == 0) {
      for (const Tensor& part : step_back<T>(size, interface, before, memory, memory))
        finite = finite && all_finite(part);
    }
    for (const std::size_t weighting : std::array<std::size_t, 4>{1, 2, 4, 5}) {
      for (const double value : doubles(memory[weighting])) {
        least = std::min(least, value);
        most = std::max(most, value);
      }
    }
  }
  CHECK(finite);
  CHECK(least > -1e-5);
  CHECK(most < 1 + 1e-5);
}
