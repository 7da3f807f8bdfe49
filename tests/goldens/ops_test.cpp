/// Operations and blocks against the golden cases; models_test.cpp tests whole models.

#include <array>
#include <string>
#include <vector>

#include "refrain/data/samplers.hpp"
#include "refrain/nn/conv_block.hpp"
#include "refrain/ops/loss.hpp"
#include "refrain/ops/pointwise.hpp"
#include "refrain/ops/steps.hpp"
#include "support/goldens.hpp"

namespace {

using namespace refrain;
using test::Golden;

constexpr std::array golden_families{
    "conv1d_", "layer_norm_", "patch_",    "block_",    "full_softmax", "sampled_softmax_",
    "loss_",   "nextitnet_",  "peterrec_", "lstm_cell", "gru_cell_",    "chunk_attention_",
    "dnc_",    "cmnrec_",     "srmn_"};

/// The conversion between a tensor of the file and ours.
enum class Layout { same, conv, transposed };

/// A leaf made from a tensor of the file.
struct Leaf {
  std::string golden;
  Layout layout;
  Variable variable;
};

class Leaves {
 public:
  explicit Leaves(const Golden& golden) : golden_(golden) {}

  Variable operator()(const std::string& name, Layout layout = Layout::same) {
    Tensor value = golden_[name];
    if (layout == Layout::conv) value = test::conv_weight_from_golden(value);
    if (layout == Layout::transposed) value = test::transposed(value);
    leaves_.push_back({name, layout, Variable(golden_.place(value), true)});
    return leaves_.back().variable;
  }

  PatchParameters patch(const std::string& prefix) {
    return {(*this)(prefix + "down.weight", Layout::transposed), (*this)(prefix + "down.bias"),
            (*this)(prefix + "up.weight", Layout::transposed), (*this)(prefix + "up.bias")};
  }

  /// Compares the gradients of all leaves; every gradient of the file must belong to a leaf.
  void check_gradients() const {
    std::int64_t in_file = 0;
    for (const auto& [name, tensor] : golden_.tensors()) in_file += name.starts_with("grad.");
    std::int64_t checked = 0;
    for (const Leaf& leaf : leaves_) {
      INFO(golden_.name() << ": " << leaf.golden);
      if (!golden_.has("grad." + leaf.golden)) {
        CHECK_FALSE(leaf.variable.gradient().defined());
        continue;
      }
      REQUIRE(leaf.variable.gradient().defined());
      Tensor gradient = leaf.variable.gradient().to_dense(leaf.variable.shape()).to(Device::cpu);
      if (leaf.layout == Layout::conv) gradient = test::conv_weight_to_golden(gradient);
      if (leaf.layout == Layout::transposed) gradient = test::transposed(gradient);
      golden_.check("grad." + leaf.golden, gradient);
      ++checked;
    }
    CHECK(checked == in_file);
  }

 private:
  const Golden& golden_;
  std::vector<Leaf> leaves_;
};

/// Checks output.y, the loss sum(y * seed.y) and the gradients.
void check_seeded(const Golden& golden, const Variable& y, const Leaves& leaves) {
  golden.check("output.y", y.value());
  const Variable loss = dot(y, Variable(golden.placed("seed.y")));
  golden.check("loss", loss.value());
  backward(loss);
  leaves.check_gradients();
}

void check_loss(const Golden& golden, const Variable& loss, const Leaves& leaves) {
  golden.check("loss", loss.value());
  backward(loss);
  leaves.check_gradients();
}

Padding padding_of(const Golden& golden) {
  return golden.config().at("causal").get<bool>() ? Padding::causal : Padding::same;
}

}  // namespace

TEST_CASE("golden: every file belongs to a known family", "[golden]") {
  if (!test::has_goldens()) REFRAIN_SKIP("no golden cases in " + test::goldens_folder());
  const std::vector<std::filesystem::path> files = test::golden_files();
  CHECK_FALSE(files.empty());
  for (const std::filesystem::path& path : files) {
    const std::string name = path.stem().string();
    INFO(name);
    CHECK(std::any_of(golden_families.begin(), golden_families.end(),
                      [&](const char* f) { return name.starts_with(f); }));
  }
}

TEST_CASE("golden: causal_conv", "[golden]") {
  test::for_goldens({"conv1d_"}, [](const Golden& golden) {
    Leaves leaf(golden);
    const Variable x = leaf("input.x");
    const Variable weight = leaf("param.conv.weight", Layout::conv);
    const Variable bias = leaf("param.conv.bias");
    const std::int64_t dilation = golden.config().at("dilation").get<std::int64_t>();
    REQUIRE(weight.size(0) == golden.config().at("kernel").get<std::int64_t>());
    check_seeded(
        golden, causal_conv(x, weight, bias, {.dilation = dilation, .padding = padding_of(golden)}),
        leaf);
  });
}

TEST_CASE("golden: layer_norm", "[golden]") {
  test::for_goldens({"layer_norm_"}, [](const Golden& golden) {
    Leaves leaf(golden);
    const Variable x = leaf("input.x");
    const Variable gamma = leaf("param.gamma");
    check_seeded(golden,
                 layer_norm(x, gamma, leaf("param.beta"), golden.config().at("eps").get<double>()),
                 leaf);
  });
}

TEST_CASE("golden: patch", "[golden]") {
  test::for_goldens({"patch_"}, [](const Golden& golden) {
    Leaves leaf(golden);
    const Variable x = leaf("input.x");
    check_seeded(golden, apply_patch(x, leaf.patch("param.")), leaf);
  });
}

TEST_CASE("golden: residual blocks, plain and patched", "[golden]") {
  test::for_goldens({"block_"}, [](const Golden& golden) {
    const nlohmann::json& config = golden.config();
    const std::string kind =
        config.at("adapter").is_null() ? "" : config.at("adapter").get<std::string>();
    const Insertion insertion = kind == "serial"     ? Insertion::serial
                                : kind == "parallel" ? Insertion::parallel
                                                     : Insertion::none;
    const std::int64_t dilation = config.at("dilation").get<std::int64_t>();
    Leaves leaf(golden);
    const Variable x = leaf("input.x");
    const auto half = [&](const Variable& in, const std::string& n, const Variable& residual,
                          std::int64_t step) {
      const Variable weight = leaf("param.conv" + n + ".weight", Layout::conv);
      const Variable bias = leaf("param.conv" + n + ".bias");
      const Variable gamma = leaf("param.ln" + n + ".gamma");
      const Variable beta = leaf("param.ln" + n + ".beta");
      const PatchParameters patch =
          insertion == Insertion::none ? PatchParameters() : leaf.patch("param.patch" + n + ".");
      return conv_norm(in, weight, bias, gamma, beta, residual, patch,
                       {.dilation = step, .padding = padding_of(golden), .insertion = insertion});
    };
    check_seeded(golden, half(half(x, "1", {}, dilation), "2", x, 2 * dilation), leaf);
  });
}

TEST_CASE("golden: softmax over all items", "[golden]") {
  test::for_goldens({"full_softmax"}, [](const Golden& golden) {
    Leaves leaf(golden);
    const Variable hidden = leaf("input.hidden");
    const Variable weight = leaf("param.weight");
    const Variable bias = leaf("param.bias");
    const bool relu = golden.config().at("pre_relu").get<bool>();
    check_loss(golden,
               softmax_loss(hidden, weight, bias, golden.placed("input.targets"), {.relu = relu}),
               leaf);
  });
}

TEST_CASE("golden: softmax over sampled items", "[golden]") {
  test::for_goldens({"sampled_softmax_"}, [](const Golden& golden) {
    const nlohmann::json& config = golden.config();
    Leaves leaf(golden);
    const Variable hidden = leaf("input.hidden");
    const Variable weight = leaf("param.weight");
    const Variable bias = leaf("param.bias");
    const Tensor targets = golden["input.targets"];
    Candidates candidates{golden["input.neg_ids"], {}, {}};
    if (!config.at("sampler").is_null()) {
      const CandidateSampler sampler({.kind = config.at("sampler") == "uniform"
                                                  ? CandidateSampler::Kind::uniform
                                                  : CandidateSampler::Kind::log_uniform,
                                      .range = config.at("range_max").get<std::int32_t>(),
                                      .unique = config.at("unique").get<bool>()});
      const CandidateSample sample{candidates.ids, config.at("num_tries").get<std::int64_t>()};
      candidates.log_q_true = sampler.log_expected_count(targets, sample, golden.dtype());
      candidates.log_q_negative =
          sampler.log_expected_count(candidates.ids, sample, golden.dtype());
      golden.check("output.log_q_true", candidates.log_q_true);
      golden.check("output.log_q_neg", candidates.log_q_negative);
    }
    for (Tensor* part : {&candidates.ids, &candidates.log_q_true, &candidates.log_q_negative})
      *part = golden.place(*part);
    check_loss(golden,
               sampled_softmax_loss(hidden, weight, bias, golden.place(targets), candidates), leaf);
  });
}

TEST_CASE("golden: pair losses", "[golden]") {
  test::for_goldens({"loss_"}, [](const Golden& golden) {
    Leaves leaf(golden);
    const Variable user = leaf("input.user");
    const Variable table = leaf("param.emb");
    const Tensor positives = golden.placed("input.pos");
    const Tensor negatives = golden.placed("input.neg");
    const bool bpr = golden.name().starts_with("loss_bpr");
    REQUIRE((bpr || golden.name().starts_with("loss_sigmoid_ce")));
    check_loss(golden,
               bpr ? bpr_loss(user, table, positives, negatives)
                   : logistic_loss(user, table, positives, negatives),
               leaf);
  });
}
