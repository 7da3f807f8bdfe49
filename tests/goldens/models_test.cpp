#include <iostream>
#include <string>
#include <vector>

#include "refrain_models/nextitnet.hpp"
#include "refrain_models/peterrec.hpp"
#include "support/goldens.hpp"

namespace {

using namespace refrain;
using models::NextItNet;
using models::PatchSet;
using test::Golden;

/// The place and layout of one of our parameters in the file.
struct LayoutPlace {
  std::string ours;
  std::string golden;
  enum class Layout { same, conv, transposed } layout = Layout::same;

  Tensor from(const Tensor& tensor) const {
    if (layout == Layout::conv) return test::conv_weight_from_golden(tensor);
    return layout == Layout::transposed ? test::transposed(tensor) : tensor;
  }
  Tensor to(const Tensor& tensor) const {
    if (layout == Layout::conv) return test::conv_weight_to_golden(tensor);
    return layout == Layout::transposed ? test::transposed(tensor) : tensor;
  }
};

std::vector<LayoutPlace> base_places(std::int64_t blocks) {
  std::vector<LayoutPlace> places{{"embedding.weight", "param.encoder.emb"}};
  for (std::int64_t b = 0; b < blocks; ++b) {
    for (const std::string half : {"1", "2"}) {
      const std::string ours = detail::concat("blocks.", b, ".");
      const std::string golden = "param.encoder." + ours;
      places.push_back({ours + "conv" + half + ".weight", golden + "conv" + half + ".weight",
                        LayoutPlace::Layout::conv});
      places.push_back({ours + "conv" + half + ".bias", golden + "conv" + half + ".bias"});
      places.push_back({ours + "norm" + half + ".gamma", golden + "ln" + half + ".gamma"});
      places.push_back({ours + "norm" + half + ".beta", golden + "ln" + half + ".beta"});
    }
  }
  return places;
}

std::vector<LayoutPlace> task_places(std::int64_t blocks, bool norm2, const std::string& head,
                                     bool two_per_block) {
  std::vector<LayoutPlace> places{
      {"head.weight", head == "softmax" ? "param.head.weight" : "param.target_emb"}};
  if (head == "softmax") places.push_back({"head.bias", "param.head.bias"});
  for (std::int64_t b = 0; b < blocks; ++b) {
    for (int half = two_per_block ? 0 : 1; half < 2; ++half) {
      const std::string ours = detail::concat("patches.", two_per_block ? 2 * b + half : b, ".");
      const std::string golden =
          detail::concat("param.encoder.blocks.", b, ".patch", half + 1, ".");
      places.push_back({ours + "down", golden + "down.weight", LayoutPlace::Layout::transposed});
      places.push_back({ours + "down_bias", golden + "down.bias"});
      places.push_back({ours + "up", golden + "up.weight", LayoutPlace::Layout::transposed});
      places.push_back({ours + "up_bias", golden + "up.bias"});
    }
    if (!norm2) continue;
    places.push_back({detail::concat("norm2.", b, ".gamma"),
                      detail::concat("param.encoder.blocks.", b, ".ln2.gamma")});
    places.push_back({detail::concat("norm2.", b, ".beta"),
                      detail::concat("param.encoder.blocks.", b, ".ln2.beta")});
  }
  return places;
}

void load(Module& module, const std::vector<LayoutPlace>& places, const Golden& golden) {
  for (const LayoutPlace& place : places)
    module.parameter(place.ours).value().copy_from(place.from(golden[place.golden]));
}

/// Checks every gradient of the file and returns their number. A parameter without a gradient in
/// the file must not have one.
std::int64_t check_gradients(Module& module, const std::vector<LayoutPlace>& places,
                             const Golden& golden) {
  std::int64_t checked = 0;
  for (const LayoutPlace& place : places) {
    const Parameter& parameter = module.parameter(place.ours);
    INFO(golden.name() << ": " << place.ours);
    if (!golden.has("grad." + place.golden)) {
      CHECK_FALSE(parameter.gradient().defined());
      continue;
    }
    REQUIRE(parameter.gradient().defined());
    golden.check("grad." + place.golden,
                 place.to(parameter.gradient().to_dense(parameter.shape()).to(Device::cpu)));
    ++checked;
  }
  return checked;
}

std::int64_t gradients_in(const Golden& golden) {
  std::int64_t count = 0;
  for (const auto& [name, tensor] : golden.tensors()) count += name.starts_with("grad.");
  return count;
}

NextItNet make_base(const Golden& golden, Random& random) {
  const nlohmann::json& config = golden.config();
  const Tensor table = golden["param.encoder.emb"];
  const Tensor conv = golden["param.encoder.blocks.0.conv1.weight"];
  NextItNet base({.items = table.size(0),
                  .channels = table.size(1),
                  .dilations = config.at("dilations").get<std::vector<std::int64_t>>(),
                  .width = conv.size(2),
                  .padding = config.value("causal", true) ? Padding::causal : Padding::same,
                  .relu = config.value("pre_relu", true)},
                 random, {.dtype = golden.dtype(), .device = golden.device()});
  load(base, base_places(base.blocks()), golden);
  return base;
}

}  // namespace

TEST_CASE("golden: nextitnet with full softmax", "[golden][model]") {
  test::for_goldens({"nextitnet_"}, [](const Golden& golden) {
    Random random(1);
    NextItNet network = make_base(golden, random);
    std::vector<LayoutPlace> places = base_places(network.blocks());
    const std::vector<LayoutPlace> head{{"head.weight", "param.head.weight"},
                                        {"head.bias", "param.head.bias"}};
    load(network, head, golden);
    places.insert(places.end(), head.begin(), head.end());

    const Tensor ids = golden["input.ids"];
    const Tensor inputs = golden.place(test::columns(ids, 0, ids.size(1) - 1));
    golden.check("output.scores", network.scores(inputs));
    const Variable loss = network.loss(inputs, golden.place(test::columns(ids, 1, ids.size(1))));
    golden.check("loss", loss.value());
    backward(loss);
    CHECK(check_gradients(network, places, golden) == gradients_in(golden));
  });
}

TEST_CASE("golden: peterrec with every head, insertion and direction", "[golden][model]") {
  test::for_goldens({"peterrec_"}, [](const Golden& golden) {
    const nlohmann::json& config = golden.config();
    const std::string head = config.at("head").get<std::string>();
    const std::string insertion = config.at("adapter").get<std::string>();
    const bool norm2 = config.at("train_ln2").get<bool>();
    const bool two_per_block = golden.has("param.encoder.blocks.0.patch1.down.weight");
    Random random(1);
    NextItNet base = make_base(golden, random);
    base.freeze();
    const std::string down = "param.encoder.blocks.0.patch2.down.weight";
    PatchSet task(
        base,
        {.patches = {.insertion = insertion == "serial" ? Insertion::serial : Insertion::parallel,
                     .two_per_block = two_per_block,
                     .bottleneck = golden[down].size(0),
                     .norm2 = norm2},
         .head = {.targets =
                      golden[head == "softmax" ? "param.head.weight" : "param.target_emb"].size(0),
                  .loss = head == "softmax" ? models::HeadLoss::softmax
                          : head == "bpr"   ? models::HeadLoss::bpr
                                            : models::HeadLoss::logistic}},
        random, {.dtype = golden.dtype(), .device = golden.device()});
    const std::vector<LayoutPlace> places = task_places(base.blocks(), norm2, head, two_per_block);
    load(task, places, golden);

    const Variable user = base.with(task).user(golden.placed("input.ids"));
    golden.check("output.user", user.value());
    const Variable loss =
        task.loss(user, golden.placed("input.target"), golden.placed("input.neg"));
    golden.check("loss", loss.value());
    backward(loss);
    CHECK(check_gradients(task, places, golden) == gradients_in(golden));
    for (const NamedParameter& named : base.parameters()) {
      INFO(golden.name() << ": " << named.name);
      CHECK_FALSE(named.parameter->gradient().defined());
    }
  });
}
