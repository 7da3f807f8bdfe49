/// Steps of the external memory against the golden cases.

#include <map>
#include <string>

#include "refrain/nn/memory.hpp"
#include "refrain/ops/pointwise.hpp"
#include "refrain/ops/steps.hpp"
#include "support/goldens.hpp"

namespace {

using namespace refrain;
using test::Golden;

/// Our names of the parts of the state, and those of the files.
const std::map<std::string, std::string> part_names{{"words", "mem"},
                                                    {"usage", "usage"},
                                                    {"precedence", "prec"},
                                                    {"link", "link"},
                                                    {"write_weighting", "write_w"},
                                                    {"read_weightings", "read_w"},
                                                    {"read_vectors", "read_vec"}};

/// The initial state: the leaves of the file, or Memory::initial() if the file has none.
MemoryState start(const Golden& golden, std::int64_t batch) {
  MemoryState state;
  if (golden.has("input.mem")) {
    state.visit([&](const char* name, Variable& part) {
      part = Variable(golden.placed("input." + part_names.at(name)), true);
    });
  } else {
    Random random(1);
    const auto size = [&](const char* key) { return golden.config().at(key).get<std::int64_t>(); };
    state = Memory({.input = 1,
                    .words = size("words"),
                    .word_size = size("word_size"),
                    .heads = size("heads")},
                   random, {.dtype = golden.dtype(), .device = golden.device()})
                .initial(batch);
  }
  return state;
}

}  // namespace

TEST_CASE("golden: memory_step", "[golden]") {
  test::for_goldens({"dnc_"}, [](const Golden& golden) {
    const Variable interface(golden.placed("input.xi"), true);
    const Variable steps = swap_batch_time(interface);
    const MemoryState first = start(golden, interface.size(0));
    MemoryState state = first;
    Variable loss;
    const auto add_to_loss = [&](const std::string& result, const Variable& value) {
      golden.check("output." + result, value.value());
      const Variable term = dot(value, Variable(golden.placed("seed." + result)));
      loss = loss.defined() ? add(loss, term) : term;
    };
    REQUIRE(steps.size(0) == golden.config().at("steps").get<std::int64_t>());
    for (std::int64_t t = 0; t < steps.size(0); ++t) {
      state = memory_step(one_step(steps, t), state);
      add_to_loss("read_vec_t" + std::to_string(t), state.read_vectors);
    }
    state.visit([&](const char* name, const Variable& part) {
      const std::string result = part_names.at(name);
      if (golden.has("output." + result)) add_to_loss(result, part);
    });
    golden.check("loss", loss.value());
    backward(loss);
    golden.check("grad.input.xi", interface.grad());
    first.visit([&](const char* name, const Variable& part) {
      const std::string result = "grad.input." + part_names.at(name);
      if (!golden.has(result)) return;
      // A step does not depend on the previous read vectors: no gradient here, zeros in the file.
      golden.check(result, part.gradient().defined() ? part.grad()
                                                     : Tensor::zeros(part.shape(), part.dtype()));
    });
  });
}
