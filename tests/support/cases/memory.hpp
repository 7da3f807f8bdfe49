#pragma once
/// Memory steps on every backend, against the loops of naive_memory.hpp and their dual numbers, and
/// special cases of the formulas.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "refrain/kernels/memory.hpp"
#include "support/cases/backend.hpp"
#include "support/cases/outputs.hpp"
#include "support/naive_memory_batch.hpp"

namespace refrain::test {

struct MemoryCase : naive::MemoryBatchSize {
  int offset = 0;  ///< elements past a multiple of 16 bytes where the old memory's tensors start
};

/// Offsets of the parts of one interface vector.
struct InterfaceLayout {
  explicit InterfaceLayout(const MemoryCase& s)
      : write_key(s.heads * s.width + s.heads),
        write_strength(write_key + s.width),
        erase(write_strength + 1),
        free_gates(erase + 2 * s.width),
        allocation_gate(free_gates + s.heads),
        write_gate(allocation_gate + 1),
        modes(write_gate + 1) {}
  std::int64_t write_key, write_strength, erase, free_gates, allocation_gate, write_gate, modes;
};

template <class Backend, class T>
struct MemoryProblem {
  static constexpr Device where = Backend::device;
  static constexpr std::size_t parts = naive::memory_parts;
  using Array = GuardedArray<T, where>;
  /// The parts of a memory, then its read vectors; or the gradients with respect to the interface
  /// vector and the parts of the previous memory.
  using Arrays = std::vector<Array>;
  using Views = std::array<View, parts>;
  using MutableViews = std::array<MutableView, parts>;

  /// A memory after some steps: weightings sum to less than one, and no word has a link to itself.
  explicit MemoryProblem(const MemoryCase& of)
      : size(of), at(of), interface(random_array<T, where>(of.interface(), 1)) {
    const auto shapes = size.shapes();
    for (std::size_t i = 0; i < parts; ++i) {
      before.push_back(random_array<T, where>(shapes[i], 10 + i, 1, size.offset));
      dafter.push_back(random_array<T, where>(shapes[i], 30 + i));
      if (i == 0) continue;
      Random random(20 + i);
      const double most = i == 1 ? 1 : 1 / static_cast<double>(size.words);
      for (std::int64_t e = 0; e < shapes[i].numel(); ++e)
        before[i].data()[e] = static_cast<T>(most * random.uniform());
    }
    for (std::int64_t b = 0; b < size.batch; ++b) {
      for (std::int64_t n = 0; n < size.words; ++n)
        before[3].data()[(b * size.words + n) * size.words + n] = 0;
    }
  }

  static Views views(const Arrays& arrays) {
    Views out{};
    for (std::size_t i = 0; i < parts; ++i) out[i] = arrays[i].view();
    return out;
  }
  static MutableViews mutable_views(Arrays& arrays) {
    MutableViews out{};
    for (std::size_t i = 0; i < parts; ++i) out[i] = arrays[i].mutable_view();
    return out;
  }
  template <class V>
  static kernels::MemoryViews<V> memory_of(const std::array<V, parts>& v) {
    return {v[0], v[1], v[2], v[3], v[4], v[5]};
  }
  static naive::MemoryParts doubles(const Arrays& arrays) {
    naive::MemoryParts out;
    for (std::size_t i = 0; i < parts; ++i) out[i] = arrays[i].doubles();
    return out;
  }
  static bool all_finite(const Arrays& arrays) {
    return std::all_of(arrays.begin(), arrays.end(), [](const Array& array) {
      return std::all_of(array.span().begin(), array.span().end(),
                         [](T value) { return std::isfinite(value); });
    });
  }
  Arrays empty_memory() const {
    Arrays out;
    for (const Shape& shape : size.shapes()) out.emplace_back(shape);
    return out;
  }
  Arrays empty_gradients() const {
    Arrays out;
    out.emplace_back(size.interface());
    const auto shapes = size.shapes();
    for (std::size_t i = 0; i + 1 < parts; ++i) out.emplace_back(shapes[i]);
    return out;
  }

  kernels::MemoryStepForward forward_args(const MutableViews& after) const {
    return {.interface = interface,
            .before = memory_of(views(before)),
            .after = memory_of(after),
            .read_vectors = after[6]};
  }
  Arrays step() const {
    Arrays after = empty_memory();
    Backend::run(forward_args(mutable_views(after)));
    return after;
  }
  /// `to`: the gradients with respect to the interface vector and to the parts of the previous
  /// memory.
  void step_back(const Arrays& after, const Views& upstream, const MutableViews& to) const {
    Backend::run(
        kernels::MemoryStepBackward{.interface = interface,
                                    .before = memory_of(views(before)),
                                    .after = memory_of(views(after)),
                                    .dafter = memory_of(upstream),
                                    .dread_vectors = upstream[6],
                                    .dinterface = to[0],
                                    .dbefore = {to[1], to[2], to[3], to[4], to[5], to[6]}});
  }
  Arrays step_back(const Arrays& after, const Arrays& upstream) const {
    Arrays out = empty_gradients();
    step_back(after, views(upstream), mutable_views(out));
    return out;
  }

  void check_forward() const {
    const auto expected = naive::memory_step(size, interface.doubles(), doubles(before));
    check(before, expected, [&](const MutableViews& to) { Backend::run(forward_args(to)); });
  }
  void check_backward() const {
    const Arrays after = step();
    const auto expected =
        naive::memory_gradients(size, interface.doubles(), doubles(before), doubles(dafter));
    check(empty_gradients(), expected,
          [&](const MutableViews& to) { step_back(after, views(dafter), to); });
  }

  /// Absent gradients are zero, and each output computed separately has the same bits as with all
  /// others.
  void check_single_gradients() const {
    const Arrays after = step();
    for (std::size_t only = 0; only < parts; ++only) {
      INFO("gradient " << only << " alone");
      Arrays zeros = empty_memory();
      for (std::size_t i = 0; i < parts; ++i) {
        if (i == only) {
          std::copy(dafter[i].span().begin(), dafter[i].span().end(), zeros[i].data());
        } else {
          std::fill_n(zeros[i].data(), zeros[i].span().size(), T{0});
        }
      }
      Views upstream{};
      upstream[only] = dafter[only];
      const Arrays expected = step_back(after, zeros);
      for (std::size_t wanted = 0; wanted < parts; ++wanted) {
        INFO("output " << wanted << " alone");
        Arrays out = empty_gradients();
        MutableViews to{};
        to[wanted] = out[wanted];
        step_back(after, upstream, to);
        check_close<T>(out[wanted].span(), expected[wanted].doubles(), tolerance::exact);
      }
    }
  }

  /// Elements [begin, begin + count) of every interface vector.
  void set_interface(std::int64_t begin, std::int64_t count, double value) {
    const std::int64_t width = size.interface()[1];
    for (std::int64_t b = 0; b < size.batch; ++b)
      std::fill_n(interface.data() + b * width + begin, count, static_cast<T>(value));
  }
  void fill_before(std::size_t part, double value) {
    std::fill_n(before[part].data(), before[part].span().size(), static_cast<T>(value));
  }

  MemoryCase size;
  InterfaceLayout at;
  Array interface;
  Arrays before, dafter;

 private:
  template <class Run>
  static void check(const Arrays& shaped, const naive::MemoryParts& values, const Run& run) {
    std::vector<Expected> expected;
    for (std::size_t i = 0; i < parts; ++i)
      expected.push_back({shaped[i].shape(), values[i], true});
    check_outputs<Backend, T>(expected, {.choices = Choices::all}, [&](auto& outputs) {
      MutableViews to{};
      for (std::size_t i = 0; i < parts; ++i) to[i] = outputs[i];
      run(to);
    });
  }
};

inline std::string text(const MemoryCase& size) {
  return detail::concat(size.batch, " x ", size.words, " words of ", size.width, ", ", size.heads,
                        " heads", past(size.offset));
}

/// Words of equal usage are allocated by index: each gets half of the remaining weight, or the
/// first gets all.
template <class Backend, class T>
void check_allocation_by_index(const MemoryCase& size) {
  MemoryProblem<Backend, T> problem(size);
  problem.set_interface(problem.at.allocation_gate, 2, 200);  // the write gate follows
  problem.fill_before(4, 0);
  problem.fill_before(5, 0);
  for (const double used : {0.5, 0.0}) {
    problem.fill_before(1, used);
    Backend::for_each_setting([&] {
      const auto after = problem.step();
      for (std::int64_t i = 0; i < size.batch * size.words; ++i) {
        const int n = static_cast<int>(i % size.words);
        CHECK(after[4].data()[i] ==
              static_cast<T>(used == 0 ? (n == 0 ? 1 : 0) : std::ldexp(0.5, -n)));
      }
    });
  }
}

/// Saturated gates, zero vectors and duplicate keys.
template <class Backend, class T>
void check_saturated_gates(const MemoryCase& size) {
  for (const double gates : {-200.0, 200.0}) {
    for (const double allocation : {-200.0, 200.0}) {
      for (const bool zero_key : {false, true}) {
        INFO("gates " << gates << ", allocation gate " << allocation
                      << ", zero keys: " << zero_key);
        MemoryProblem<Backend, T> problem(size);
        const InterfaceLayout& at = problem.at;
        problem.set_interface(at.erase, size.width, gates);
        problem.set_interface(at.free_gates, size.heads, gates);
        problem.set_interface(at.allocation_gate, 1, allocation);
        problem.set_interface(at.write_gate, 1, 200);
        problem.set_interface(at.modes, 3 * size.heads, 0);
        problem.set_interface(at.modes + 1, 1, gates);
        for (std::int64_t b = 0; b < size.batch; ++b) {
          // All heads and the write use the same key.
          T* control = problem.interface.data() + b * size.interface()[1];
          for (std::int64_t c = 0; c < size.width; ++c) {
            const T element = zero_key ? T{0} : control[c];
            for (std::int64_t r = 0; r < size.heads; ++r) control[r * size.width + c] = element;
            control[at.write_key + c] = element;
          }
          T* words = problem.before[0].data() + b * size.words * size.width;
          std::fill_n(words, size.width, T{0});
          std::copy_n(words + size.width, size.width, words + 2 * size.width);
          T* usage = problem.before[1].data() + b * size.words;
          usage[3] = 0;  // makes the product of usages zero
          usage[4] = 1;  // a word without free space
          problem.before[4].data()[b * size.words + 3] = 0;
          // Two heads have read these words in full: the products over heads have two factors of
          // zero.
          for (std::int64_t r = 0; r < 2; ++r) {
            T* readings = problem.before[5].data() + (b * size.heads + r) * size.words;
            std::fill_n(readings, size.words, T{0});
            readings[5] = 1;
          }
        }
        problem.check_forward();
        problem.check_backward();
      }
    }
  }
}

/// No NaN from huge raw values.
template <class Backend, class T>
void check_huge_interface(const MemoryCase& size) {
  for (const double huge : {-1e30, 1e30}) {
    MemoryProblem<Backend, T> problem(size);
    const InterfaceLayout& at = problem.at;
    problem.set_interface(size.heads * size.width, size.heads, huge);
    problem.set_interface(at.write_strength, 1 + size.width, huge);
    problem.set_interface(at.free_gates, size.heads + 2, huge);
    problem.set_interface(at.modes, size.heads, huge);
    const auto after = problem.step();
    CHECK(problem.all_finite(after));
    CHECK(problem.all_finite(problem.step_back(after, problem.dafter)));
  }
}

}  // namespace refrain::test
