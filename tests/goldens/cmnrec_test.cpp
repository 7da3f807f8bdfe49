#include <string>
#include <vector>

#include "refrain_models/cmnrec.hpp"
#include "support/goldens.hpp"

namespace {

using namespace refrain;
using test::Golden;

/// The place of one of our parameters in the file: columns [begin, end) of a matrix, or a whole
/// tensor.
struct ColumnPlace {
  std::string ours;
  std::string golden;
  std::int64_t begin = 0;
  std::int64_t end = -1;
  Tensor of(const Tensor& x) const { return end < 0 ? x : test::columns(x, begin, end); }
};

/// Concatenates [rows,a] and [rows,b] along the columns.
Tensor side_by_side(const Tensor& left, const Tensor& right) {
  Tensor out({left.size(0), left.size(1) + right.size(1)}, DType::f64);
  const Tensor a = left.to(DType::f64);
  const Tensor b = right.to(DType::f64);
  double* to = out.data<double>();
  for (std::int64_t r = 0; r < left.size(0); ++r) {
    to = std::copy_n(a.data<double>() + r * a.size(1), a.size(1), to);
    to = std::copy_n(b.data<double>() + r * b.size(1), b.size(1), to);
  }
  return out.to(left.dtype());
}

ChunkSchedule schedule_of(const nlohmann::json& config) {
  const std::int64_t length = config.at("T").get<std::int64_t>();
  const std::int64_t slots = config.at("slots").get<std::int64_t>();
  const std::string kind = config.at("schedule").get<std::string>();
  const ChunkSchedule schedule = kind == "tsc"   ? ChunkSchedule::tsc(length, slots)
                                 : kind == "pec" ? ChunkSchedule::pec(length, slots)
                                 : kind == "exc" ? ChunkSchedule::exc(length, slots)
                                                 : ChunkSchedule::every_step(length);
  CHECK(schedule ==
        ChunkSchedule::of(config.at("chunk_times").get<std::vector<std::int64_t>>(), length));
  return schedule;
}

template <class Controller>
void check_model(const Golden& golden, Recompute recompute) {
  constexpr bool is_gru = std::is_same_v<Controller, Gru>;
  const nlohmann::json& config = golden.config();
  const std::int64_t embedding = golden["param.emb"].size(1);
  const bool has_attention = golden.has("param.attn_v");
  Random random(1);
  models::CmnRec<Controller> model(
      {.items = golden["param.emb"].size(0),
       .embedding = embedding,
       .hidden = golden["param.out_nn.weight"].size(0),
       .words = config.at("words").get<std::int64_t>(),
       .word_size = config.at("word_size").get<std::int64_t>(),
       .heads = config.at("heads").get<std::int64_t>(),
       .attention = has_attention ? golden["param.attn_v"].size(0) : 0,
       .order = config.at("variant").get<std::string>() == "alg1" ? ChunkOrder::paper
                                                                  : ChunkOrder::reference_code,
       .recompute = recompute},
      random, {.dtype = golden.dtype(), .device = golden.device()});
  const std::string controller = "memory_network.controller.";
  const std::string attention = "memory_network.attention.";
  const std::int64_t in = golden["param.rnn.weight_ih_l0"].size(1);
  std::vector<ColumnPlace> places{
      {"embedding.weight", "param.emb"},
      {controller + "layers.0.weight_x", "param.rnn.weight_ih_l0", 0, embedding},
      {controller + "layers.0.weight_shared", "param.rnn.weight_ih_l0", embedding, in},
      {controller + "layers.0.weight_h", "param.rnn.weight_hh_l0"},
      {controller + "layers.0.bias", "param.rnn.bias_ih_l0"},
      {"memory_network.memory.interface", "param.interface.weight"},
      {"out.weight", "param.out_nn.weight"},
      {"out_memory.weight", "param.out_mem.weight"},
      {"head.weight", "param.head.weight"},
      {"head.bias", "param.head.bias"}};
  if (is_gru) places.push_back({controller + "layers.0.bias_h", "param.rnn.bias_hh_l0"});
  if (has_attention) {
    places.push_back({attention + "weight", "param.attn_c"});
    places.push_back({attention + "query", "param.attn_r"});
    places.push_back({attention + "score", "param.attn_v"});
  }
  for (const ColumnPlace& place : places) {
    model.parameter(place.ours).value().copy_from(place.of(golden[place.golden]));
  }
  REQUIRE(model.parameters().size() == places.size());

  const ChunkSchedule schedule = schedule_of(config);
  const Tensor ids = golden["input.ids"];
  const Tensor inputs = golden.place(test::columns(ids, 0, ids.size(1) - 1));
  const Tensor targets = golden.place(test::columns(ids, 1, ids.size(1)));
  golden.check("output.features", model.features(inputs, schedule).value());
  golden.check("output.scores", model.scores(inputs, schedule));
  const Variable loss = model.loss(inputs, targets, schedule);
  golden.check("loss", loss.value());
  backward(loss);
  std::int64_t checked = 0;
  const auto gradient = [&](const std::string& name) {
    const Parameter& parameter = model.parameter(name);
    return parameter.gradient().to_dense(parameter.shape()).to(Device::cpu);
  };
  golden.check("grad.param.rnn.weight_ih_l0",
               side_by_side(gradient(controller + "layers.0.weight_x"),
                            gradient(controller + "layers.0.weight_shared")));
  ++checked;
  for (const ColumnPlace& place : places) {
    if (place.end >= 0) continue;
    golden.check("grad." + place.golden, gradient(place.ours));
    ++checked;
  }
  std::int64_t stored = 0;
  for (const auto& [name, tensor] : golden.tensors()) stored += name.starts_with("grad.");
  CHECK(checked == stored);
}

}  // namespace

TEST_CASE("golden: cmnrec and srmn with every schedule, controller and order", "[golden][model]") {
  test::for_goldens({"cmnrec_", "srmn_"}, [](const Golden& golden) {
    const std::string controller = golden.config().at("controller").get<std::string>();
    for (const Recompute recompute : {Recompute::none, Recompute::segments}) {
      if (controller == "gru") {
        check_model<Gru>(golden, recompute);
      } else {
        check_model<Lstm>(golden, recompute);
      }
    }
  });
}
