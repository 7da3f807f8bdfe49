#pragma once
/// Memory steps of a batch: the loops of naive_memory.hpp for each sequence, and their derivatives
/// by dual numbers.

#include <array>
#include <cstdint>
#include <vector>

#include "refrain/core/shape.hpp"
#include "support/naive.hpp"
#include "support/naive_memory.hpp"

namespace refrain::test::naive {

/// Words, usage, precedence, link, write weighting, read weightings, read vectors.
constexpr std::size_t memory_parts = 7;

struct MemoryBatchSize {
  std::int64_t batch, words, width, heads;

  std::array<Shape, memory_parts> shapes() const {
    return {Shape{batch, words, width}, Shape{batch, words}, Shape{batch, words},
            Shape{batch, words, words}, Shape{batch, words}, Shape{batch, heads, words},
            Shape{batch, heads, width}};
  }
  Shape interface() const { return {batch, static_cast<std::int64_t>(one().interface())}; }
  MemorySize one() const { return {at(words), at(width), at(heads)}; }
};

/// The parts of a batch's memory. For gradients: the interface vectors' gradient comes first, and
/// the read vectors are omitted.
using MemoryParts = std::array<Values, memory_parts>;

template <class S>
std::array<std::vector<S>*, memory_parts> members(MemoryOf<S>& memory) {
  return {&memory.words,           &memory.usage,           &memory.precedence,  &memory.link,
          &memory.write_weighting, &memory.read_weightings, &memory.read_vectors};
}

/// Sequence b of a batch of `batch`.
template <class S>
std::vector<S> row_of(const Values& values, std::int64_t batch, std::int64_t b) {
  const std::size_t width = values.size() / at(batch);
  const auto first = values.begin() + static_cast<std::ptrdiff_t>(at(b) * width);
  return {first, first + static_cast<std::ptrdiff_t>(width)};
}

template <class S>
MemoryOf<S> sequence_of(const MemoryParts& memory, std::int64_t batch, std::int64_t b) {
  MemoryOf<S> out;
  const auto to = members(out);
  for (std::size_t i = 0; i < memory_parts; ++i) *to[i] = row_of<S>(memory[i], batch, b);
  return out;
}

/// The memory after the step.
inline MemoryParts memory_step(const MemoryBatchSize& size, const Values& interface,
                               const MemoryParts& before) {
  MemoryParts expected;
  for (std::int64_t b = 0; b < size.batch; ++b) {
    auto after = memory_step(row_of<double>(interface, size.batch, b),
                             sequence_of<double>(before, size.batch, b), size.one());
    const auto from = members(after);
    for (std::size_t i = 0; i < memory_parts; ++i)
      expected[i].insert(expected[i].end(), from[i]->begin(), from[i]->end());
  }
  return expected;
}

/// Perturbs each input of each sequence in turn: d (sum of after * dafter) / d input.
inline MemoryParts memory_gradients(const MemoryBatchSize& size, const Values& interface,
                                    const MemoryParts& before, const MemoryParts& dafter) {
  MemoryParts expected;
  for (std::int64_t b = 0; b < size.batch; ++b) {
    auto control = row_of<Dual>(interface, size.batch, b);
    auto memory = sequence_of<Dual>(before, size.batch, b);
    auto weights = sequence_of<double>(dafter, size.batch, b);
    const auto factors = members(weights);
    const auto inputs = members(memory);
    for (std::size_t which = 0; which < memory_parts; ++which) {
      std::vector<Dual>& input = which == 0 ? control : *inputs[which - 1];
      for (Dual& element : input) {
        element.slope = 1;
        auto after = memory_step(control, memory, size.one());
        element.slope = 0;
        const auto results = members(after);
        double slope = 0;
        for (std::size_t i = 0; i < memory_parts; ++i) {
          for (std::size_t e = 0; e < results[i]->size(); ++e)
            slope += (*results[i])[e].slope * (*factors[i])[e];
        }
        expected[which].push_back(slope);
      }
    }
  }
  return expected;
}

}  // namespace refrain::test::naive
