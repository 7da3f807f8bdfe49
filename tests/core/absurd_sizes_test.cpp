/// Sizes beyond memory and products beyond 64 bits are refused before anything is allocated.

#include <algorithm>
#include <fstream>
#include <limits>

#include "refrain/data/batches.hpp"
#include "refrain/data/readers.hpp"
#include "refrain/data/samplers.hpp"
#include "refrain/data/splits.hpp"
#include "refrain/ops/top_k.hpp"
#include "refrain/train/trainer.hpp"
#include "refrain_models/cmnrec.hpp"
#include "refrain_models/nextitnet.hpp"
#include "refrain_models/peterrec.hpp"
#include "support/catch.hpp"
#include "support/scratch.hpp"
#include "support/tensors.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {

constexpr std::int64_t max_int64 = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t sizes[] = {max_int64,
                                  max_int64 / 2 + 1,
                                  std::int64_t{1} << 60,
                                  std::int64_t{1} << 46,
                                  -1,
                                  std::numeric_limits<std::int64_t>::min()};

/// Runs `make`; its exception must be one of ours or std::bad_alloc, and the pool's used and peak
/// bytes must not change.
template <class Make>
void check_refused(Make make) {
  pool_trim();
  pool_reset_peak();
  const PoolStats before = pool_stats();
  bool refused = false;
  try {
    make();
  } catch (const Error&) {
    refused = true;
  } catch (const OutOfMemory&) {
    refused = true;
  }
  CHECK(refused);
  CHECK(pool_stats().used_bytes == before.used_bytes);
  CHECK(pool_stats().peak_used_bytes < before.used_bytes + (std::int64_t{1} << 24));
}

}  // namespace

TEST_CASE("absurd sizes: messages of tensors name the requested size", "[core][reliability]") {
  for (const std::int64_t size : sizes) {
    INFO(size);
    check_refused([&] { Tensor({size}, DType::f32); });
    check_refused([&] { Tensor::zeros({size, 2}, DType::f64); });
  }
  check_refused([] { Tensor({1 << 30, 1 << 30}, DType::f32); });
  check_refused([] { Tensor::full({max_int64 / 4, 3}, 1, DType::i32); });
  check_refused([] { Tensor::repeated(Tensor::full({}, 1, DType::f32), {std::int64_t{1} << 50}); });
  CHECK_THROWS_MATCHES((Tensor({std::int64_t{1} << 46}, DType::f32)), OutOfMemory,
                       message_contains("cannot give a block of 281474976710656 bytes"));
  CHECK_THROWS_MATCHES((Tensor({max_int64 / 4}, DType::f64)), ShapeError,
                       message_contains("is too large to address"));
  CHECK_THROWS_AS(pool_allocate(~std::size_t{0}, Device::cpu), ShapeError);
  CHECK_THROWS_AS(PoolAllocator<double>().allocate((std::size_t{1} << 61) + 1), std::bad_alloc);
  CHECK_THROWS_AS(PinnedBuffer(~std::size_t{0} - 3, Device::cpu), ShapeError);
}

TEST_CASE("absurd sizes: layers", "[nn][reliability]") {
  Random random(1);
  for (const std::int64_t size : sizes) {
    INFO(size);
    check_refused([&] { Linear({.in = size, .out = 2}, random); });
    check_refused([&] { Linear({.in = 3, .out = size}, random); });
    check_refused([&] { Embedding({.count = size, .width = 8}, random); });
    check_refused([&] { LayerNorm({.channels = size}); });
    check_refused([&] { CausalConv({.in = size, .out = size}, random); });
    check_refused([&] { CausalConv({.in = 2, .out = 2, .width = size}, random); });
    check_refused([&] { CausalConv({.in = 2, .out = 2, .dilation = size}, random); });
    check_refused([&] { ConvBlock({.channels = 2, .dilation = size}, random); });
    check_refused([&] { Patch({.channels = 8, .bottleneck = size}, random); });
    check_refused([&] { Patch({.channels = 8, .bottleneck = 4, .cardinality = size}, random); });
    check_refused([&] { Lstm({.in = size, .hidden = 2}, random); });
    check_refused([&] { Lstm({.in = 2, .hidden = size}, random); });
    check_refused([&] { Gru({.in = 2, .hidden = size}, random); });
    check_refused([&] { Gru({.in = 2, .hidden = 2, .shared = size}, random); });
    check_refused([&] { Memory({.input = 2, .words = 2, .word_size = size, .heads = 2}, random); });
    check_refused([&] { Memory({.input = 2, .words = 2, .word_size = 2, .heads = size}, random); });
    check_refused([&] { Memory({.input = size, .words = 2, .word_size = 2}, random); });
    check_refused([&] { models::NextItNet({.items = size}, random); });
    check_refused(
        [&] { models::CmnRec<Lstm>({.items = 10, .word_size = size, .heads = 2}, random); });
  }
  check_refused([&] {
    Patch(
        {.channels = 8, .bottleneck = std::int64_t{1} << 40, .cardinality = std::int64_t{1} << 40},
        random);
  });
  check_refused([&] {
    Memory({.input = 2,
            .words = 2,
            .word_size = std::int64_t{1} << 33,
            .heads = std::int64_t{1} << 33},
           random);
  });
}

TEST_CASE("absurd sizes: operations", "[op][reliability]") {
  const Variable x(random_tensor<float>({2, 5, 3}, 1));
  const Variable weight(random_tensor<float>({3, 3, 3}, 2));
  for (const std::int64_t size : sizes) {
    INFO(size);
    check_refused([&] { causal_conv(x, weight, {}, {.dilation = size}); });
    check_refused([&] { select_step(x, size == -1 ? -6 : size); });
    check_refused([&] { top_k(x.value().reshape({10, 3}), size); });
    check_refused([&] { x.value().slice(0, size); });
    check_refused([&] { reshape(x, {size}); });
  }
  // A dilation beyond the sequence is valid: all taps but the newest read zeros.
  const Variable y = causal_conv(x, weight, {}, {.dilation = 0x7FFF'FFFF});
  CHECK(same_bytes(y.value(), causal_conv(x, Variable(weight.value().slice(0, 1)), {}).value()));
}

TEST_CASE("absurd sizes: schedules and sets of steps", "[nn][reliability]") {
  for (const std::int64_t size :
       {max_int64, max_int64 / 2 + 1, std::int64_t{1} << 40, std::int64_t{-1}}) {
    INFO(size);
    CHECK_THROWS_AS(ChunkSchedule::every_step(size), OptionError);
    CHECK_THROWS_AS(ChunkSchedule::pec(size, size), OptionError);
    CHECK_THROWS_AS(ChunkSchedule::tsc(size, 3), OptionError);
    CHECK_THROWS_AS(ChunkSchedule::exc(size, size), OptionError);
    CHECK_THROWS_AS(ChunkSchedule::every(2, size), OptionError);
    CHECK_THROWS_AS(ChunkSchedule::tsc(20, size), OptionError);
    if (size > 0) CHECK_THROWS_AS(StepSet({size}, 20), OptionError);
  }
  CHECK_THROWS_AS(ChunkSchedule::every(max_int64, 10), OptionError);
  CHECK(ChunkSchedule::every(std::int64_t{1} << 62, 10).chunks() == 0);
  CHECK(ChunkSchedule::every(3, 10, max_int64).chunks() ==
        3);  // the stream's end is where 64 bits end
}

TEST_CASE("absurd sizes: data", "[data][reliability]") {
  RaggedIds rows;
  rows.push_back(std::vector<std::int32_t>{5, 6, 7});
  const std::vector<std::int64_t> chosen{0};
  Random random(1);
  for (const std::int64_t size : sizes) {
    INFO(size);
    check_refused([&] { padded_batch(rows, chosen, size); });
    check_refused([&] { next_item_batch(rows, chosen, size); });
    check_refused([&] { masked_batch(rows, chosen, size, 0.5, random); });
    check_refused([&] { tcl_batch(rows, chosen, size, TclPlacement::both); });
    check_refused([&] { BatchSampler(size, {.batch_size = 1}); });
    check_refused([&] { split_random(size, {0.5, 0.25, 0.25}, 1); });
    check_refused([&] { CandidateSampler({.range = 100, .unique = false}).draw(size, random); });
    check_refused([&] { rows[size]; });
    if (size < 0) continue;
    CHECK(BatchSampler(1, {.batch_size = size}).rows(0, 0).size() == 1);
    CHECK(cut(rows, {.length = size}).rows == rows);
  }
  check_refused([&] { rows.reserve(-1, 1); });
  const NegativeSampler negatives({.first = 4, .items = 3});
  // Outside: excludes nothing.
  CHECK(negatives.draw(std::numeric_limits<std::int32_t>::min(), random) >= 4);
}

TEST_CASE("absurd sizes: text files", "[data][reliability]") {
  const ScratchFolder folder;
  // Fields of 3 MiB: longer than the default limit of a line, allowed with a higher limit.
  const std::string huge(3 << 20, '7');
  const std::string path =
      folder.write("u.data", "1\t2\t3\t4\n1\t" + huge + "\t3\t4\n2\t3\t4\t5\n");
  CHECK_THROWS_MATCHES(
      read_interactions(path), DataError,
      message_contains("u.data:2: expected a line of at most 1048576 bytes (max_line_bytes)"));
  CHECK(read_interactions(path, {.skip_bad_lines = 1}).size() == 2);
  CHECK(read_interactions(path, {.max_line_bytes = 4 << 20}).items[1] == huge);
  for (const std::int64_t size :
       {max_int64, std::int64_t{1} << 31, std::int64_t{0}, std::int64_t{-1}}) {
    CHECK_THROWS_AS(read_interactions(path, {.max_line_bytes = size}), OptionError);
  }
  CHECK_THROWS_AS(read_interactions(folder.write(
                      "u.data", detail::concat("1\t2\t", std::string(400, '9'), "\t4\n"))),
                  DataError);
  CHECK_THROWS_MATCHES(read_interactions(folder.write("u.data", "1\t2\t3\t99999999999999999999\n")),
                       DataError, message_contains("does not fit 64 bits"));
}

TEST_CASE("absurd sizes: a file of tensors that claims 2^60 bytes", "[train][reliability]") {
  const ScratchFolder folder;
  const auto file = [&](std::uint64_t length, const std::string& header) {
    std::string bytes(8, '\0');
    for (std::size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>((length >> (8 * i)) & 255);
    return folder.write("claims", bytes + header);
  };
  const std::string tensor =
      R"({"x":{"dtype":"F32","shape":[288230376151711744],"data_offsets":[0,1152921504606846976]}})";
  check_refused([&] { read_safetensors(file(std::uint64_t{1} << 60, "{}")); });
  check_refused([&] { read_safetensors(file(~std::uint64_t{0}, "{}")); });
  check_refused([&] { read_safetensors(file(tensor.size(), tensor)); });
  CHECK_THROWS_MATCHES(read_safetensors(file(std::uint64_t{1} << 60, "{}")), DataError,
                       message_contains("expected a header of 1152921504606846976 bytes"));
  // A sparse file has the length of its header; only the tensor cannot be allocated.
  const std::uint64_t bytes = std::uint64_t{1} << 42;
  const std::string sparse =
      R"({"x":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}})";
  const std::string path = file(sparse.size(), sparse);
  std::error_code error;
  std::filesystem::resize_file(path, 8 + sparse.size() + bytes, error);
  if (!error) check_refused([&] { read_safetensors(path); });
}

TEST_CASE("absurd sizes: training", "[train][reliability]") {
  Random random(1);
  Linear model({.in = 2, .out = 2}, random);
  Sgd sgd(model, {.learning_rate = 0.1});
  for (const std::int64_t size : {max_int64, std::int64_t{1} << 40, std::int64_t{-1}}) {
    CHECK_THROWS_AS(Trainer(model, sgd, {.steps_per_epoch = 1, .pending_losses = size}),
                    OptionError);
  }
}
