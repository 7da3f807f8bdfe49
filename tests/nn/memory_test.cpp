/// The memory as an operation on the tape, as a module, and as a state that is saved and restored.

#include <string>
#include <utility>
#include <vector>

#include "refrain/autograd/gradcheck.hpp"
#include "refrain/nn/memory.hpp"
#include "refrain/ops/pointwise.hpp"
#include "refrain/ops/steps.hpp"
#include "refrain/train/safetensors.hpp"
#include "support/catch.hpp"
#include "support/scratch.hpp"
#include "support/tensors.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {

constexpr struct { std::int64_t batch = 2, words = 4, width = 3, heads = 2; } small;

/// A memory after several writes, so that no usages are equal.
MemoryState lived_in(std::uint64_t seed, bool requires_grad = false) {
  const auto uniform = [&](const Shape& shape, double high) {
    Tensor tensor(shape, DType::f64);
    Random(seed++).fill_uniform(tensor, 0.05 * high, 0.9 * high);
    return Variable(tensor, requires_grad);
  };
  return {
      .words = Variable(random_tensor<double>({small.batch, small.words, small.width}, seed + 100),
                        requires_grad),
      .usage = uniform({small.batch, small.words}, 1),
      .precedence = uniform({small.batch, small.words}, 1.0 / small.words),
      .link = uniform({small.batch, small.words, small.words}, 1.0 / small.words),
      .write_weighting = uniform({small.batch, small.words}, 1.0 / small.words),
      .read_weightings = uniform({small.batch, small.heads, small.words}, 1.0 / small.words),
      .read_vectors = uniform({small.batch, small.heads, small.width}, 1)};
}

Variable interfaces(std::int64_t steps, std::uint64_t seed, bool requires_grad = false) {
  return Variable(random_tensor<double>(
                      {steps, small.batch, memory_interface_size(small.heads, small.width)}, seed),
                  requires_grad);
}

Memory module_of(double keep = 1) {
  Random random(3);
  return Memory({.input = 5,
                 .words = small.words,
                 .word_size = small.width,
                 .heads = small.heads,
                 .keep = keep},
                random, {.dtype = DType::f64});
}

}  // namespace

TEST_CASE("memory_step: gradients through five steps match finite differences",
          "[memory][gradcheck]") {
  const Variable control = interfaces(5, 40, true);
  MemoryState first = lived_in(50, true);
  std::vector<Variable> leaves{control};
  first.visit([&](const char* name, Variable& part) {
    if (std::string(name) != "read_vectors") leaves.push_back(part);
  });
  const auto function = [&] {
    MemoryState state = first;
    Variable total;
    std::uint64_t seed = 60;
    for (std::int64_t t = 0; t < 5; ++t) {
      state = memory_step(one_step(control, t), state);
      const Variable term =
          dot(state.read_vectors,
              Variable(random_tensor<double>({small.batch, small.heads, small.width}, seed++)));
      total = total.defined() ? add(total, term) : term;
    }
    state.visit([&](const char*, const Variable& part) {
      total = add(total, dot(part, Variable(random_tensor<double>(part.shape(), seed++))));
    });
    return total;
  };
  CHECK(gradcheck(function, leaves) == "");
  CHECK_FALSE(first.read_vectors.gradient().defined());
}

TEST_CASE("memory_step: only needed gradients are computed, and nothing is recorded without them",
          "[memory]") {
  const Variable control = interfaces(1, 1);
  MemoryState before = lived_in(2);
  before.words.set_requires_grad(true);
  const MemoryState after = memory_step(one_step(control, 0), before);
  backward(sum(after.read_vectors));
  CHECK(before.words.gradient().defined());
  CHECK_FALSE(control.gradient().defined());
  CHECK_FALSE(before.link.gradient().defined());
  CHECK_FALSE(memory_step(one_step(control, 0), before.detach()).words.requires_grad());
  const NoGrad off;
  CHECK_FALSE(memory_step(one_step(control, 0), before).words.requires_grad());
}

TEST_CASE("memory_step: refuses arguments that do not fit", "[memory]") {
  const Variable control = one_step(interfaces(1, 1), 0);
  const MemoryState good = lived_in(2);
  CHECK_NOTHROW(memory_step(control, good));
  const auto wrong = [&](Variable MemoryState::*part, const Shape& shape,
                         DType dtype = DType::f64) {
    MemoryState state = good;
    state.*part = Variable(Tensor::zeros(shape, dtype));
    return state;
  };
  CHECK_THROWS_AS(
      memory_step(control, wrong(&MemoryState::words, {small.batch, small.words + 1, small.width})),
      ShapeError);
  CHECK_THROWS_AS(memory_step(control, wrong(&MemoryState::words, {small.batch, small.words})),
                  ShapeError);
  CHECK_THROWS_AS(memory_step(control, wrong(&MemoryState::usage, {small.batch, small.words + 1})),
                  ShapeError);
  CHECK_THROWS_AS(
      memory_step(control, wrong(&MemoryState::precedence, {small.batch + 1, small.words})),
      ShapeError);
  CHECK_THROWS_AS(
      memory_step(control, wrong(&MemoryState::link, {small.batch, small.words, small.words + 1})),
      ShapeError);
  CHECK_THROWS_AS(memory_step(control, wrong(&MemoryState::write_weighting, {small.words})),
                  ShapeError);
  CHECK_THROWS_AS(memory_step(control, wrong(&MemoryState::read_weightings,
                                             {small.batch, small.heads + 1, small.words})),
                  ShapeError);
  CHECK_THROWS_AS(
      memory_step(control, wrong(&MemoryState::read_weightings, {small.batch, 0, small.words})),
      ShapeError);
  CHECK_THROWS_AS(
      memory_step(control, wrong(&MemoryState::usage, {small.batch, small.words}, DType::f32)),
      DTypeError);
  CHECK_THROWS_AS(
      memory_step(Variable(Tensor::zeros({small.batch, control.size(1) + 1}, DType::f64)), good),
      ShapeError);
  MemoryState undefined = good;
  undefined.link = {};
  CHECK_THROWS_AS(memory_step(control, undefined), ShapeError);
}

TEST_CASE("Memory: initial values, sizes and names", "[memory]") {
  Memory memory = module_of();
  CHECK(memory.parameter("interface").shape() ==
        Shape{small.heads * small.width + 3 * small.width + 5 * small.heads + 3, 5});
  CHECK(memory.parameters().size() == 1);
  CHECK(memory.read_width() == small.heads * small.width);
  const MemoryState state = memory.initial(small.batch);
  const auto all = [](const Variable& x, const Shape& shape, double value) {
    REQUIRE(x.shape() == shape);
    for (const double element : doubles(x.value())) CHECK(element == value);
  };
  all(state.words, {small.batch, small.words, small.width}, 1e-6);
  all(state.usage, {small.batch, small.words}, 0);
  all(state.precedence, {small.batch, small.words}, 0);
  all(state.link, {small.batch, small.words, small.words}, 0);
  all(state.write_weighting, {small.batch, small.words}, 1e-6);
  all(state.read_weightings, {small.batch, small.heads, small.words}, 1e-6);
  all(state.read_vectors, {small.batch, small.heads, small.width}, 1e-6);
  Random random(1);
  CHECK_THROWS_AS(Memory({.input = 5, .words = 0, .word_size = 3}, random), OptionError);
  CHECK_THROWS_AS(Memory({.input = 5, .words = 4, .word_size = 3, .heads = 0}, random),
                  OptionError);
}

TEST_CASE("Memory: a step is the interface product and memory_step, the read is head-major",
          "[memory]") {
  Memory memory = module_of();
  const Variable o(random_tensor<double>({small.batch, 5}, 7));
  const MemoryState before = lived_in(8);
  const MemoryState got = memory.step(o, before, memory.pack());
  const MemoryState expected = memory_step(linear(o, memory.interface()), before);
  const auto read = doubles(memory.read(got).value());
  const auto vectors = doubles(expected.read_vectors.value());
  REQUIRE(memory.read(got).shape() == Shape{small.batch, small.heads * small.width});
  for (std::size_t i = 0; i < vectors.size(); ++i)
    CHECK(read[i] == Approx(vectors[i]).margin(1e-12));
  backward(sum(memory.read(got)));
  CHECK(memory.interface().gradient().defined());
}

TEST_CASE("Memory: a state of another memory is refused", "[memory]") {
  Memory memory = module_of();
  const Variable o(random_tensor<double>({small.batch, 5}, 7));
  Random random(1);
  const Placement here{.dtype = DType::f64};
  Memory more_words(
      {.input = 5, .words = small.words + 1, .word_size = small.width, .heads = small.heads},
      random, here);
  CHECK_THROWS_AS(memory.step(o, more_words.initial(small.batch)), ShapeError);
  // One head of 10 and two of 7 have interface vectors of the same width.
  Memory one({.input = 5, .words = small.words, .word_size = 10, .heads = 1}, random, here);
  Memory two({.input = 5, .words = small.words, .word_size = 7, .heads = 2}, random, here);
  REQUIRE(one.interface().shape() == two.interface().shape());
  CHECK_THROWS_AS(one.step(o, two.initial(small.batch)), ShapeError);
  CHECK(one.step(o, one.initial(small.batch)).words.defined());
}

TEST_CASE("Memory: dropout on the interface vector acts only in training", "[memory]") {
  Memory memory = module_of(0.5);
  const Variable o(random_tensor<double>({small.batch, 5}, 7));
  const MemoryState before = lived_in(8);
  const Tensor trained = memory.step(o, before).read_vectors.value();
  CHECK_FALSE(same_bytes(trained, memory.step(o, before).read_vectors.value()));
  memory.eval();
  CHECK(same_bytes(memory.step(o, before).read_vectors.value(),
                   memory.step(o, before).read_vectors.value()));
  CHECK_FALSE(same_bytes(trained, memory.step(o, before).read_vectors.value()));
}

TEST_CASE("Memory: a saved and loaded state continues bit for bit", "[memory]") {
  const ScratchFolder folder;
  const Variable control = interfaces(6, 90);
  MemoryState state = lived_in(91);
  for (std::int64_t t = 0; t < 3; ++t) state = memory_step(one_step(control, t), state);
  SafetensorsFile file;
  std::as_const(state).visit(
      [&](const char* name, const Variable& part) { file.tensors[name] = part.value(); });
  CHECK(file.tensors.size() == 7);
  write_safetensors(folder.path("memory.safetensors"), file);
  const SafetensorsFile loaded = read_safetensors(folder.path("memory.safetensors"));
  MemoryState resumed;
  resumed.visit(
      [&](const char* name, Variable& part) { part = Variable(loaded.tensors.at(name)); });
  for (std::int64_t t = 3; t < 6; ++t) {
    state = memory_step(one_step(control, t), state);
    resumed = memory_step(one_step(control, t), resumed);
  }
  std::vector<Tensor> expected;
  state.visit([&](const char*, const Variable& part) { expected.push_back(part.value()); });
  std::size_t index = 0;
  resumed.visit([&](const char* name, const Variable& part) {
    INFO(name);
    CHECK(same_bytes(part.value(), expected[index++]));
  });
}
