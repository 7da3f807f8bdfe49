/// Models and patches as files.

#include <fstream>
#include <iterator>

#include "refrain/nn/embedding.hpp"
#include "refrain/nn/linear.hpp"
#include "refrain/train/checkpoint.hpp"
#include "support/catch.hpp"
#include "support/scratch.hpp"
#include "support/tensors.hpp"

using namespace refrain;
using namespace refrain::test;

namespace {

class TableAndHead final : public Module {
 public:
  explicit TableAndHead(std::uint64_t seed, std::int64_t out = 3)
      : TableAndHead(Random(seed), Fill::initial, out) {}
  TableAndHead(Random&& random, Fill fill, std::int64_t out = 3)
      : TableAndHead(random, fill, out) {}
  TableAndHead(Random& random, Fill fill, std::int64_t out = 3)
      : table({.count = 5, .width = 4}, random, {.fill = fill}),
        head({.in = 4, .out = out}, random, {.fill = fill}) {}
  void visit_members(Visitor& visitor) override {
    visitor.module("table", table);
    visitor.module("head", head);
  }
  Embedding table;
  Linear head;
};

}  // namespace

TEST_CASE("checkpoint: a model is loaded with its texts", "[train][checkpoint]") {
  const ScratchFolder folder;
  const std::string path = folder.path("model");
  const TableAndHead saved(1);
  const Metadata texts{{"vocabulary", "a\nb\n"}, {"width", "4"}};
  save_model(path, saved, texts);

  TableAndHead loaded(2);
  const Tensor handle = loaded.head.weight().value();
  REQUIRE(content_hash(loaded) != content_hash(saved));
  CHECK(load_model(path, loaded) == texts);
  CHECK(content_hash(loaded) == content_hash(saved));
  // Loaded in place, visible through other handles.
  CHECK(handle.shares_storage_with(loaded.head.weight().value()));

  const CheckpointInfo info = checkpoint_info(path);
  CHECK(info.kind == "model");
  CHECK(info.task.empty());
  CHECK(info.base_hash.empty());
  CHECK(info.metadata == texts);
  CHECK_THROWS_AS(save_model(path, saved, {{"refrain.kind", "x"}}), OptionError);
}

TEST_CASE("checkpoint: a model that does not fit is refused and nothing changes",
          "[train][checkpoint]") {
  const ScratchFolder folder;
  const std::string path = folder.path("model");
  save_model(path, TableAndHead(1));
  TableAndHead wider(2, 7);
  const std::string before = content_hash(wider);
  CHECK_THROWS_MATCHES(load_model(path, wider), DataError,
                       message_contains("'head.weight' is f32 [3, 4], expected f32 [7, 4]"));
  CHECK(content_hash(wider) == before);

  Random random(3);
  Linear head({.in = 4, .out = 3}, random);
  CHECK_THROWS_MATCHES(load_model(path, head), DataError,
                       message_contains("'weight' [3, 4] is missing"));
  CHECK_THROWS_MATCHES(load_model(path, head), DataError,
                       message_contains("'table.weight' [5, 4] is not expected"));

  const TableAndHead model(1);
  TensorMap other = tensors_of(model);
  other["head.bias"] = other["head.bias"].to(DType::f64);
  CHECK_THROWS_MATCHES(assign_tensors(tensors_of(model), other, "here"), DataError,
                       message_contains("'head.bias' is f64 [3], expected f32 [3]"));
}

TEST_CASE("checkpoint: a patch belongs to one base and one task", "[train][checkpoint]") {
  const ScratchFolder folder;
  const std::string path = folder.path("patch");
  const TableAndHead base(1);
  Random random(9);
  const Linear patch({.in = 2, .out = 2}, random);
  const PatchTarget target{.base_hash = content_hash(base), .task = "age"};
  save_patch(path, patch, target, {{"classes", "young,old"}});

  Linear loaded({.in = 2, .out = 2}, random);
  CHECK(load_patch(path, loaded, target) == Metadata{{"classes", "young,old"}});
  CHECK(content_hash(loaded) == content_hash(patch));
  const CheckpointInfo info = checkpoint_info(path);
  CHECK(info.kind == "patch");
  CHECK(info.task == "age");
  CHECK(info.base_hash == target.base_hash);

  Linear other({.in = 2, .out = 2}, random);
  const std::string before = content_hash(other);
  CHECK_THROWS_MATCHES(
      load_patch(path, other, {.base_hash = content_hash(TableAndHead(2)), .task = "age"}),
      DataError, message_contains("another base: it was trained on " + target.base_hash));
  CHECK_THROWS_MATCHES(load_patch(path, other, {.base_hash = target.base_hash, .task = "gender"}),
                       DataError, message_contains("for the task 'age', expected 'gender'"));
  CHECK_THROWS_MATCHES(load_model(path, other), DataError,
                       message_contains("a patch checkpoint, expected a model"));
  CHECK_THROWS_AS(save_patch(path, patch, {.base_hash = "", .task = "age"}), OptionError);
  CHECK_THROWS_AS(save_patch(path, patch, {.base_hash = "x", .task = ""}), OptionError);
  CHECK(content_hash(other) == before);
}

TEST_CASE("checkpoint: a patch may hold one row of a table", "[train][checkpoint]") {
  const ScratchFolder folder;
  const PatchTarget target{.base_hash = "b", .task = "t"};
  const Tensor table = random_tensor<float>({4, 3}, 1);
  save_patch(folder.path("p"), {{"table.row1", table.slice(1, 2)}}, target);
  const Tensor other = Tensor::zeros({4, 3}, DType::f32);
  load_patch(folder.path("p"), {{"table.row1", other.slice(1, 2)}}, target);
  CHECK(same_bytes(other.slice(1, 2), table.slice(1, 2)));
  CHECK(same_bytes(other.slice(2, 4), Tensor::zeros({2, 3}, DType::f32)));
}

TEST_CASE("checkpoint: damage anywhere is refused and changes nothing", "[train][checkpoint]") {
  const ScratchFolder folder;
  save_model(folder.path("good"), TableAndHead(1), {{"text", "some words"}});
  const std::string good = read_file(folder.path("good"));
  TableAndHead model(2);
  const std::string before = content_hash(model);
  std::size_t by_hash = 0;
  for (std::size_t at = 0; at < good.size(); ++at) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ (1 << (at % 8)));
    const std::string path = folder.write("bad", bad);
    try {
      load_model(path, model);
      // White space between tokens may become other white space; every other change must be
      // detected.
      CHECK(good[at] == ' ');
      load_model(folder.path("good"), model);
      CHECK(content_hash(model) == content_hash(TableAndHead(1)));
      assign_tensors(tensors_of(model), tensors_of(TableAndHead(2)), "reset");
    } catch (const DataError& error) {
      by_hash += std::string(error.what()).find("is damaged") != std::string::npos ? 1u : 0u;
    }
    REQUIRE(content_hash(model) == before);
  }
  CHECK(by_hash >= (5 * 4 + 3 * 4 + 3) * sizeof(float));  // at least every byte of the parameters
  for (std::size_t size = 0; size < good.size(); size += 3) {
    CHECK_THROWS_AS(load_model(folder.write("bad", good.substr(0, size)), model), DataError);
  }
  CHECK_THROWS_AS(load_model(folder.write("bad", good + "x"), model), DataError);
}

TEST_CASE("checkpoint: weights that are not finite are refused", "[train][checkpoint]") {
  const ScratchFolder folder;
  constexpr float infinity = std::numeric_limits<float>::infinity();
  for (const float bad : {infinity, -infinity, std::numeric_limits<float>::quiet_NaN()}) {
    TableAndHead saved(1);
    saved.table.parameter("weight").value().span<float>().back() = bad;
    save_model(folder.path("m"), saved);
    TableAndHead loaded(2);
    const std::string before = content_hash(loaded);
    CHECK_THROWS_MATCHES(load_model(folder.path("m"), loaded), DataError,
                         message_contains("m: tensor 'table.weight': expected finite numbers"));
    CHECK(content_hash(loaded) == before);

    const PatchTarget target{.base_hash = "b", .task = "t"};
    const Tensor row = Tensor::from<double>({2}, {0, static_cast<double>(bad)});
    save_patch(folder.path("p"), {{"row", row}}, target);
    CHECK_THROWS_MATCHES(
        load_patch(folder.path("p"), {{"row", Tensor::zeros({2}, DType::f64)}}, target), DataError,
        message_contains("p: tensor 'row': expected finite numbers"));
  }
  TableAndHead extreme(1);
  extreme.table.parameter("weight").value().span<float>()[0] = std::numeric_limits<float>::max();
  extreme.table.parameter("weight").value().span<float>()[1] =
      -std::numeric_limits<float>::denorm_min();
  save_model(folder.path("m"), extreme);
  TableAndHead loaded(2);
  CHECK_NOTHROW(load_model(folder.path("m"), loaded));
}

TEST_CASE("checkpoint: a module can be created without random weights and filled by a load",
          "[train][checkpoint]") {
  const ScratchFolder folder;
  const TableAndHead saved(1);
  save_model(folder.path("m"), saved);

  Random random(5);
  const RandomState before = random.state();
  TableAndHead loaded(random, Fill::deferred);
  CHECK(random.state().position == before.position);
  CHECK_THROWS_MATCHES(tensors_of(loaded), OptionError, message_contains("Fill::deferred"));
  CHECK_THROWS_AS(save_model(folder.path("x"), loaded), OptionError);
  CHECK_THROWS_AS(content_hash(loaded), OptionError);

  TableAndHead wider(random, Fill::deferred, 4);
  CHECK_THROWS_AS(load_model(folder.path("m"), wider), DataError);
  CHECK_THROWS_AS(tensors_of(wider), OptionError);

  load_model(folder.path("m"), loaded);
  CHECK(content_hash(loaded) == content_hash(saved));
  // The module then behaves like any other: loads write to its storage.
  const Tensor handle = loaded.head.weight().value();
  save_model(folder.path("n"), TableAndHead(3));
  load_model(folder.path("n"), loaded);
  CHECK(content_hash(loaded) == content_hash(TableAndHead(3)));
  CHECK(handle.shares_storage_with(loaded.head.weight().value()));
}

TEST_CASE("checkpoint: the hash of a model's tensors is that of the module",
          "[train][checkpoint]") {
  const ScratchFolder folder;
  const TableAndHead saved(1);
  save_model(folder.path("m"), saved, {{"text", "words"}});
  CHECK(checkpoint_info(folder.path("m")).tensors_hash == content_hash(saved));
}

TEST_CASE("checkpoint: a plain safetensors file is no checkpoint", "[train][checkpoint]") {
  const ScratchFolder folder;
  TableAndHead model(1);
  write_safetensors(folder.path("plain"), {.tensors = tensors_of(model), .metadata = {}});
  CHECK_THROWS_MATCHES(load_model(folder.path("plain"), model), DataError,
                       message_contains("no hash"));
}

TEST_CASE("checkpoint: a training state is loaded bit for bit", "[train][checkpoint]") {
  const ScratchFolder folder;
  TrainingState state;
  state.model["w"] = random_tensor<float>({3, 2}, 1);
  state.optimizer["adam.m.w"] = random_tensor<double>({3, 2}, 2);
  state.best["w"] = random_tensor<float>({3, 2}, 3);
  state.randoms["dropout"] = {
      .seed = 0xFFFFFFFFFFFFFFFFu, .stream = 1, .position = 0x8000000000000000u};
  state.counters["epoch"] = -1;
  state.figures["loss"] = -0.1;
  state.figures["best"] = std::numeric_limits<double>::infinity();
  state.metadata["note"] = "x";
  save_training(folder.path("s"), state);
  const TrainingState back = load_training(folder.path("s"));
  CHECK(same_bytes(back.model.at("w"), state.model.at("w")));
  CHECK(same_bytes(back.optimizer.at("adam.m.w"), state.optimizer.at("adam.m.w")));
  CHECK(same_bytes(back.best.at("w"), state.best.at("w")));
  CHECK(back.randoms.at("dropout").seed == 0xFFFFFFFFFFFFFFFFu);
  CHECK(back.randoms.at("dropout").stream == 1);
  CHECK(back.randoms.at("dropout").position == 0x8000000000000000u);
  CHECK(back.counters == state.counters);
  CHECK(back.figures == state.figures);
  CHECK(back.metadata == state.metadata);
  TableAndHead model(1);
  CHECK_THROWS_MATCHES(load_model(folder.path("s"), model), DataError,
                       message_contains("a training checkpoint"));
}
