/// The memory step on CUDA, emulated, against loops in double and dual numbers, and the corners of its formulas.

#include <array>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/cuda.hpp"
#include "refrain/kernels/table.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/naive.hpp"
#include "support/naive_memory.hpp"
#include "support/simt/device_array.hpp"
#include "support/simt/orders.hpp"
#include "support/tensors.hpp"

using namespace refrain;
using namespace refrain::test;
namespace cuda = kernels::cuda;

namespace {

constexpr std::size_t parts = 7;  // words, usage, precedence, link, write weighting, read weightings, read vectors

struct Size {
  std::int64_t batch, words, width, heads;
  int offset;  ///< elements past a multiple of 16 bytes where the old memory's tensors start

  std::array<Shape, parts> shapes() const {
    return {Shape{batch, words, width}, Shape{batch, words},        Shape{batch, words},       Shape{batch, words, words},
            Shape{batch, words},        Shape{batch, heads, words}, Shape{batch, heads, width}};
  }
  Shape interface() const { return {batch, static_cast<std::int64_t>(naive().interface())}; }
  naive::MemorySize naive() const { return {naive::at(words), naive::at(width), naive::at(heads)}; }
};

/// None, one of each, primes, fewer words than warps and more, words around a warp's lanes, more than one group of heads, several tiles
/// of links, whole groups of 16 bytes.
const Size sizes[] = {{0, 3, 2, 1, 0},  {1, 1, 1, 1, 0},   {2, 1, 5, 3, 0},  {3, 5, 1, 2, 0},
                      {2, 7, 11, 5, 1}, {1, 12, 16, 1, 0}, {1, 8, 33, 2, 1}, {1, 50, 3, 1, 0}};

template <class T>
using Arrays = std::vector<DeviceArray<T>>;

template <class T>
std::array<View, parts> views(const Arrays<T>& arrays) {
  std::array<View, parts> out{};
  for (std::size_t i = 0; i < parts; ++i) out[i] = arrays[i].view();
  return out;
}
template <class T>
std::array<MutableView, parts> mutable_views(Arrays<T>& arrays) {
  std::array<MutableView, parts> out{};
  for (std::size_t i = 0; i < parts; ++i) out[i] = arrays[i].mutable_view();
  return out;
}
template <class V>
kernels::MemoryViews<V> memory_of(const std::array<V, parts>& v) {
  return {v[0], v[1], v[2], v[3], v[4], v[5]};
}

/// A memory in the middle of its life: weightings that sum to less than one, no link from a word to itself.
template <class T>
Arrays<T> lived_in(const Size& size) {
  Arrays<T> memory;
  const auto shapes = size.shapes();
  for (std::size_t i = 0; i < parts; ++i) {
    memory.push_back(random_array<T>(shapes[i], 10 + i, 1, size.offset));
    if (i == 0) continue;
    Random random(20 + i);
    const double most = i == 1 ? 1 : 1 / static_cast<double>(size.words);
    for (std::int64_t e = 0; e < shapes[i].numel(); ++e) memory[i].data()[e] = static_cast<T>(most * random.uniform());
  }
  for (std::int64_t b = 0; b < size.batch; ++b) {
    for (std::int64_t n = 0; n < size.words; ++n) memory[3].data()[(b * size.words + n) * size.words + n] = 0;
  }
  return memory;
}

template <class T>
Arrays<T> empty_arrays(const Size& size) {
  Arrays<T> out;
  for (const Shape& shape : size.shapes()) out.emplace_back(shape);
  return out;
}

template <class T>
Arrays<T> random_gradients(const Size& size) {
  Arrays<T> out;
  std::uint64_t seed = 30;
  for (const Shape& shape : size.shapes()) out.push_back(random_array<T>(shape, seed++));
  return out;
}

template <class T>
kernels::MemoryStepForward forward_args(const DeviceArray<T>& interface, const Arrays<T>& before, Arrays<T>& after) {
  return {.interface = interface.view(),
          .before = memory_of(views(before)),
          .after = memory_of(mutable_views(after)),
          .read_vectors = after[6].mutable_view()};
}

template <class T>
Arrays<T> step(const Size& size, const DeviceArray<T>& interface, const Arrays<T>& before) {
  Arrays<T> after = empty_arrays<T>(size);
  run_entry(cuda::memory_step_forward, cuda::memory_step_forward_workspace, forward_args(interface, before, after));
  return after;
}

/// `to`: the interface vector's gradient, then those of the parts of the memory before.
template <class T>
kernels::MemoryStepBackward backward_args(const DeviceArray<T>& interface, const Arrays<T>& before, const Arrays<T>& after,
                                          const std::array<View, parts>& dafter, const std::array<MutableView, parts>& to) {
  return {.interface = interface.view(),
          .before = memory_of(views(before)),
          .after = memory_of(views(after)),
          .dafter = memory_of(dafter),
          .dread_vectors = dafter[6],
          .dinterface = to[0],
          .dbefore = {to[1], to[2], to[3], to[4], to[5], to[6]}};
}

template <class T>
Arrays<T> empty_gradients(const Size& size) {
  Arrays<T> out;
  out.emplace_back(size.interface());
  const auto shapes = size.shapes();
  for (std::size_t i = 0; i + 1 < parts; ++i) out.emplace_back(shapes[i]);
  return out;
}

template <class T>
Arrays<T> step_back(const Size& size, const DeviceArray<T>& interface, const Arrays<T>& before, const Arrays<T>& after,
                    const Arrays<T>& dafter) {
  Arrays<T> out = empty_gradients<T>(size);
  run_entry(cuda::memory_step_backward, cuda::memory_step_backward_workspace,
            backward_args(interface, before, after, views(dafter), mutable_views(out)));
  return out;
}

template <class S>
std::array<std::vector<S>*, parts> members(naive::MemoryOf<S>& memory) {
  return {&memory.words,           &memory.usage,           &memory.precedence,  &memory.link,
          &memory.write_weighting, &memory.read_weightings, &memory.read_vectors};
}

/// Sequence b of a batch.
template <class S, class T>
std::vector<S> row_of(const DeviceArray<T>& array, std::int64_t b) {
  const auto values = array.doubles();
  const std::size_t width = values.size() / naive::at(array.view().shape[0]);
  const auto first = values.begin() + static_cast<std::ptrdiff_t>(naive::at(b) * width);
  return {first, first + static_cast<std::ptrdiff_t>(width)};
}

template <class S, class T>
naive::MemoryOf<S> sequence_of(const Arrays<T>& memory, std::int64_t b) {
  naive::MemoryOf<S> out;
  const auto to = members(out);
  for (std::size_t i = 0; i < parts; ++i) *to[i] = row_of<S>(memory[i], b);
  return out;
}

using Expected = std::array<std::vector<double>, parts>;

template <class T>
Expected expected_step(const Size& size, const DeviceArray<T>& interface, const Arrays<T>& before) {
  Expected expected;
  for (std::int64_t b = 0; b < size.batch; ++b) {
    auto after = naive::memory_step(row_of<double>(interface, b), sequence_of<double>(before, b), size.naive());
    const auto from = members(after);
    for (std::size_t i = 0; i < parts; ++i) expected[i].insert(expected[i].end(), from[i]->begin(), from[i]->end());
  }
  return expected;
}

/// Moves each input of each sequence in turn: d (sum of after * dafter) / d input, from dual numbers.
template <class T>
Expected expected_gradients(const Size& size, const DeviceArray<T>& interface, const Arrays<T>& before,
                            const Arrays<T>& dafter) {
  using naive::Dual;
  Expected expected;
  for (std::int64_t b = 0; b < size.batch; ++b) {
    auto control = row_of<Dual>(interface, b);
    auto memory = sequence_of<Dual>(before, b);
    auto weights = sequence_of<double>(dafter, b);
    const auto factors = members(weights);
    const auto inputs = members(memory);
    for (std::size_t which = 0; which < parts; ++which) {
      std::vector<Dual>& input = which == 0 ? control : *inputs[which - 1];
      for (Dual& element : input) {
        element.slope = 1;
        auto after = naive::memory_step(control, memory, size.naive());
        element.slope = 0;
        const auto results = members(after);
        double slope = 0;
        for (std::size_t i = 0; i < parts; ++i) {
          for (std::size_t e = 0; e < results[i]->size(); ++e) slope += (*results[i])[e].slope * (*factors[i])[e];
        }
        expected[which].push_back(slope);
      }
    }
  }
  return expected;
}

template <class T>
void check_parts(const Arrays<T>& got, const Expected& expected) {
  for (std::size_t i = 0; i < parts; ++i) {
    INFO("part " << i);
    check_close<T>(got[i].span(), expected[i], tolerance::sum<T>);
  }
}

template <class T>
bool same_parts(const Arrays<T>& a, const Arrays<T>& b) {
  for (std::size_t i = 0; i < parts; ++i) {
    if (!same_bytes(a[i], b[i])) return false;
  }
  return true;
}

template <class T>
bool all_finite(const Arrays<T>& arrays) {
  for (const DeviceArray<T>& array : arrays) {
    for (const T value : array.span()) {
      if (!std::isfinite(value)) return false;
    }
  }
  return true;
}

/// Where the parts of one interface vector begin.
struct Layout {
  explicit Layout(const Size& s)
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
void set(DeviceArray<T>& interface, std::int64_t begin, std::int64_t count, double value) {
  const Shape shape = interface.view().shape;
  for (std::int64_t b = 0; b < shape[0]; ++b) {
    std::fill_n(interface.data() + b * shape[1] + begin, count, static_cast<T>(value));
  }
}

template <class T>
Tensor tensor_of(const DeviceArray<T>& array) {
  const std::vector<double> values = array.doubles();
  return Tensor::from<double>(array.view().shape, std::span<const double>(values));
}

}  // namespace

TEMPLATE_TEST_CASE("cuda memory_step: forward is the naive loop, the same bits in every order", "[simt][memory]", float,
                   double) {
  using T = TestType;
  for (const Size& size : sizes) {
    INFO(size.batch << " x " << size.words << " words of " << size.width << ", " << size.heads << " heads");
    const auto interface = random_array<T>(size.interface(), 1);
    const Arrays<T> before = lived_in<T>(size);
    const Expected expected = expected_step(size, interface, before);
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

TEMPLATE_TEST_CASE("cuda memory_step: backward is the derivative of the naive loop, the same bits in every order",
                   "[simt][memory]", float, double) {
  using T = TestType;
  for (const Size& size : sizes) {
    INFO(size.batch << " x " << size.words << " words of " << size.width << ", " << size.heads << " heads");
    const auto interface = random_array<T>(size.interface(), 1);
    const Arrays<T> before = lived_in<T>(size);
    const Arrays<T> after = step(size, interface, before);
    const Arrays<T> dafter = random_gradients<T>(size);
    const Expected expected = expected_gradients(size, interface, before, dafter);
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

TEMPLATE_TEST_CASE("cuda memory_step: absent gradients are zero and unwanted ones are not written", "[simt][memory]", float,
                   double) {
  using T = TestType;
  const Size size{2, 5, 6, 2, 0};
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
      zeros.emplace_back(shapes[i], i == only ? std::vector<T>(given[i].span().begin(), given[i].span().end()) : zero);
    }
    upstream[only] = given[only].view();
    const Arrays<T> expected = step_back(size, interface, before, after, zeros);
    for (const std::size_t further : {0, 1, 3}) {
      const std::size_t wanted = (only + further) % parts;
      INFO("output " << wanted << " alone");
      Arrays<T> out = empty_gradients<T>(size);
      std::array<MutableView, parts> to{};
      to[wanted] = out[wanted].mutable_view();
      run_entry(cuda::memory_step_backward, cuda::memory_step_backward_workspace,
                backward_args(interface, before, after, upstream, to));
      CHECK(same_bytes(out[wanted], expected[wanted]));
    }
  }
}

TEMPLATE_TEST_CASE("cuda memory_step: equally used words are allocated by index", "[simt][memory]", float, double) {
  using T = TestType;
  const Size size{1, 37, 3, 1, 0};
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
        CHECK(after[4].data()[n] == static_cast<T>(used == 0 ? (n == 0 ? 1 : 0) : std::ldexp(0.5, -static_cast<int>(n))));
      }
    });
  }
}

TEMPLATE_TEST_CASE("cuda memory_step: saturated gates, zero vectors and duplicate keys", "[simt][memory]", float, double) {
  using T = TestType;
  const Size size{1, 9, 6, 3, 0};
  const Layout at(size);
  const Arrays<T> dafter = random_gradients<T>(size);
  for (const double gates : {-200.0, 200.0}) {
    for (const double allocation : {-200.0, 200.0}) {
      for (const bool zero_key : {false, true}) {
        INFO("gates " << gates << ", allocation gate " << allocation << ", zero keys: " << zero_key);
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
          for (std::int64_t r = 0; r < size.heads; ++r) interface.data()[r * size.width + c] = element;
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
        check_parts(step_back(size, interface, before, after, dafter), expected_gradients(size, interface, before, dafter));
      }
    }
  }
}

TEMPLATE_TEST_CASE("cuda memory_step: no NaN from huge raw values", "[simt][memory]", float, double) {
  using T = TestType;
  const Size size{1, 5, 4, 2, 0};
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

TEMPLATE_TEST_CASE("cuda memory_step: large memories are the CPU's, wherever a block has its pieces", "[simt][memory]", float,
                   double) {
  using T = TestType;
  constexpr std::int64_t scale = 8 / sizeof(T);
  struct Large {
    Size size;
    bool workspace;  // even without the words, a block's pieces pass the shared memory of the emulated GPU
  };
  // Columns and words past a block's threads; words read where they lie; everything in the workspace.
  const Large all[] = {{{1, 2, 300, 2, 0}, false},
                       {{1, 260, 2, 1, 0}, false},
                       {{2, 5, 2500 * scale, 1, 0}, false},
                       {{2, 2, 5500 * scale, 1, 0}, true}};
  for (const auto& [size, workspace] : all) {
    INFO(size.batch << " x " << size.words << " words of " << size.width << ", " << size.heads << " heads");
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
      return kernels::MemoryViews<View>{t[0].view(), t[1].view(), t[2].view(), t[3].view(), t[4].view(), t[5].view()};
    };
    const auto outputs_of = [](std::vector<Tensor>& t, std::size_t first) {
      return kernels::MemoryViews<MutableView>{t[first].mutable_view(),     t[first + 1].mutable_view(),
                                               t[first + 2].mutable_view(), t[first + 3].mutable_view(),
                                               t[first + 4].mutable_view(), t[first + 5].mutable_view()};
    };
    const ThreadCount alone(1);  // ThreadSanitizer does not see how the library's threads meet
    const kernels::Table& cpu = kernels::table(Device::cpu);
    cpu.memory_step_forward({.interface = control.view(),
                             .before = views_of(old),
                             .after = outputs_of(renewed, 0),
                             .read_vectors = renewed[6].mutable_view()});
    cpu.memory_step_backward({.interface = control.view(),
                              .before = views_of(old),
                              .after = views_of(renewed),
                              .dafter = views_of(upstream),
                              .dread_vectors = upstream[6].view(),
                              .dinterface = gradients[0].mutable_view(),
                              .dbefore = outputs_of(gradients, 1)});
    Arrays<T> after = empty_arrays<T>(size);
    CHECK((cuda::memory_step_forward_workspace(forward_args(interface, before, after)) > 0) == workspace);
    after = step(size, interface, before);
    const Arrays<T> got = step_back(size, interface, before, after, dafter);
    for (std::size_t i = 0; i < parts; ++i) {
      INFO("part " << i);
      check_close<T>(after[i].span(), doubles(renewed[i]), tolerance::sum<T>);
      check_close<T>(got[i].span(), doubles(gradients[i]), tolerance::sum<T>);
    }
  }
}

TEST_CASE("cuda memory_step: a write and a read are one launch, their gradients another", "[simt][memory]") {
  for (const Size& size : {Size{2, 3, 256, 1, 0}, Size{1, 12, 256, 2, 0}}) {
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
  const kernels::MemoryViews<View> memory{.words = view({1, 1 << 20, 2048}), .read_weightings = view({1, 1, 1 << 20})};
  CHECK_THROWS_AS(cuda::memory_step_forward({.before = memory}, {}), Unsupported);
  CHECK_THROWS_AS(cuda::memory_step_backward_workspace({.before = memory}), Unsupported);
}
