/// A training step allocates no memory from the system after its sizes have occurred once.

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <vector>

#include "refrain/nn/conv_block.hpp"
#include "refrain/nn/embedding.hpp"
#include "refrain/nn/loss.hpp"
#include "refrain/ops/pointwise.hpp"
#include "refrain/ops/steps.hpp"
#include "refrain/ops/top_k.hpp"
#include "refrain/train/optimizer.hpp"
#include "support/catch.hpp"
#include "support/skip.hpp"
#include "support/tensors.hpp"

namespace {

/// Number of calls of the global operator new, by any thread, during the lifetime of a HeapWatch.
std::atomic<bool> watching{false};
std::atomic<std::int64_t> news{0};

class HeapWatch {
 public:
  HeapWatch() {
    news = 0;
    watching = true;
  }
  HeapWatch(const HeapWatch&) = delete;
  HeapWatch& operator=(const HeapWatch&) = delete;
  ~HeapWatch() { watching = false; }

  std::int64_t calls() const { return news; }
};

// A sanitizer replaces the allocation functions, which must not be mixed with these; sanitized
// builds check only the pool's counter.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool heap_is_watched = false;

}  // namespace
#else
constexpr bool heap_is_watched = true;

void* counted_allocate(std::size_t bytes, std::size_t alignment) {
  if (watching) ++news;
  const std::size_t size =
      (std::max<std::size_t>(bytes, 1) + alignment - 1) / alignment * alignment;
  void* block = alignment <= alignof(std::max_align_t) ? std::malloc(size)
                                                       : std::aligned_alloc(alignment, size);
  if (block == nullptr) throw std::bad_alloc();
  return block;
}

}  // namespace

// The array and nothrow forms of the standard library call these. Not inlined: gcc warns about a
// free() inside an inlined delete.
void* operator new(std::size_t bytes) { return counted_allocate(bytes, alignof(std::max_align_t)); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return counted_allocate(bytes, static_cast<std::size_t>(alignment));
}
[[gnu::noinline]] void operator delete(void* block) noexcept { std::free(block); }
[[gnu::noinline]] void operator delete(void* block, std::size_t) noexcept { std::free(block); }
[[gnu::noinline]] void operator delete(void* block, std::align_val_t) noexcept { std::free(block); }
[[gnu::noinline]] void operator delete(void* block, std::size_t, std::align_val_t) noexcept {
  std::free(block);
}
#endif

namespace {

using namespace refrain;
using test::random_ids;

/// A small NextItNet: an item table, two residual blocks, a softmax over the items.
struct Network final : Module {
  Embedding embedding;
  ConvBlock block1, block2;
  Linear items;

  explicit Network(Random& random)
      : embedding({.count = 500, .width = 16}, random),
        block1({.channels = 16, .dilation = 1}, random),
        block2({.channels = 16, .dilation = 4}, random),
        items({.in = 16, .out = 500}, random) {}

  void visit_members(Visitor& visitor) override {
    visitor.module("embedding", embedding);
    visitor.module("block1", block1);
    visitor.module("block2", block2);
    visitor.module("items", items);
  }
};

struct Step {
  std::int64_t system_allocations;
  std::int64_t news;
};

/// Two steps that allocate, then the allocations of each further step.
template <class Train>
std::vector<Step> steps_after_warm_up(Train train) {
  for (int i = 0; i < 2; ++i) train();
  std::vector<Step> steps;
  for (int i = 0; i < 3; ++i) {
    const std::int64_t before = pool_stats().system_allocations;
    std::int64_t news_of_step = 0;
    {
      const HeapWatch watch;
      train();
      news_of_step = watch.calls();
    }
    steps.push_back({pool_stats().system_allocations - before, news_of_step});
  }
  return steps;
}

template <class Train>
void check_nothing_allocated(Train train) {
  for (const Step& step : steps_after_warm_up(train)) {
    CHECK(step.system_allocations == 0);
    CHECK(step.news == 0);
  }
}

}  // namespace

TEST_CASE("allocation: heap allocations are counted", "[allocation]") {
  if (!heap_is_watched) REFRAIN_SKIP("a sanitizer watches the heap");
  const HeapWatch watch;
  // Called by name: the compiler may remove a new expression with its delete.
  ::operator delete(::operator new(100));
  ::operator delete (::operator new (100, std::align_val_t{64}), std::align_val_t{64});
  const std::int64_t seen = watch.calls();
  CHECK(seen == 2);
}

TEST_CASE("allocation: a training step with the full softmax allocates no memory", "[allocation]") {
  for (const int count : {1, 3}) {
    INFO(count << " threads");
    const test::ThreadCount scope(count);
    Random random(1);
    Network network(random);
    Adam optimizer(network);
    const Tensor ids = random_ids(6 * 20, 500, 2).reshape({6, 20});
    const Tensor targets = random_ids(6 * 20, 500, 3);
    check_nothing_allocated([&] {
      optimizer.zero_grad();
      backward(softmax_loss(network.block2(network.block1(network.embedding(ids))), network.items,
                            targets, {.relu = true}));
      optimizer.step();
    });
  }
}

TEST_CASE("allocation: a training step with the sampled softmax allocates no memory",
          "[allocation]") {
  Random random(1);
  Network network(random);
  Adam optimizer(network);
  const Tensor ids = random_ids(6 * 20, 500, 2).reshape({6, 20});
  const Tensor targets = random_ids(6 * 20, 500, 3);
  const Candidates candidates{random_ids(40, 500, 4), {}, {}};
  check_nothing_allocated([&] {
    optimizer.zero_grad();
    backward(sampled_softmax_loss(network.block2(network.block1(network.embedding(ids))),
                                  network.items, targets, candidates));
    optimizer.step();
  });
}

TEST_CASE("allocation: fine-tuning patches on a frozen network allocates no memory",
          "[allocation]") {
  Random random(1);
  Network network(random);
  network.freeze();
  Patch first({.channels = 16}, random);
  Patch second({.channels = 16}, random);
  std::vector<NamedParameter> parameters = first.parameters();
  for (const NamedParameter& named : second.parameters())
    parameters.push_back({"second." + named.name, named.parameter});
  Sgd optimizer(parameters, {.momentum = 0.9});
  const Tensor ids = random_ids(6 * 20, 500, 2).reshape({6, 20});
  const Tensor positives = random_ids(6, 500, 3);
  const Tensor negatives = random_ids(6, 500, 4);
  for (const Insertion insertion : {Insertion::serial, Insertion::parallel}) {
    check_nothing_allocated([&] {
      optimizer.zero_grad();
      const BlockPatches patches{.first = &first, .second = &second, .insertion = insertion};
      const Variable h = network.block2(network.block1(network.embedding(ids), patches), patches);
      backward(bpr_loss(select_step(h, -1), network.items.weight(), positives, negatives));
      optimizer.clip_gradients(1);
      optimizer.step();
    });
  }
}

TEST_CASE("allocation: inference allocates no memory", "[allocation]") {
  Random random(1);
  Network network(random);
  const Tensor ids = random_ids(6 * 20, 500, 2).reshape({6, 20});
  std::int64_t recommended = 0;
  check_nothing_allocated([&] {
    const NoGrad off;
    const Variable h = select_step(network.block2(network.block1(network.embedding(ids))), -1);
    recommended += top_k(network.items(h).value(), 10).indices.numel();
  });
  CHECK(recommended == 5 * 6 * 10);
}

TEST_CASE("allocation: large matrix products allocate no memory", "[allocation]") {
  Random random(1);
  Linear layer({.in = 700, .out = 500}, random);
  const std::vector<Parameter*> parameters{&layer.parameter("weight"), &layer.parameter("bias")};
  Variable x(test::random_tensor<float>({600, 700}, 2), true);
  check_nothing_allocated([&] {
    x.zero_grad();
    for (Parameter* parameter : parameters) parameter->zero_grad();
    backward(sum(layer(x)));
  });
}
