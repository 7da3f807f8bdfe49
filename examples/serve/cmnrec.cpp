#include <charconv>

#include "cmnrec/config.hpp"
#include "common/saved_config.hpp"
#include "refrain_models/cmnrec_served.hpp"
#include "serve/service.hpp"

namespace refrain::serve {
namespace {

/// Visits the network's parameters under the names that the cmnrec program uses.
template <class Network>
class Saved final : public Module {
 public:
  explicit Saved(Network& network) : network_(network) {}
  void visit_members(Visitor& visitor) override { visitor.module("network", network_); }

 private:
  Network& network_;
};

/// The time steps at which the model was trained to access its memory.
models::ServedSchedule schedule_of(const cmnrec::ModelSetting& setting, const std::string& path) {
  const std::string name = setting.model == "srmn" ? "every" : setting.schedule;
  if (name == "every") return models::ServedSchedule::every(1);
  if (name.starts_with("every:")) {
    std::int64_t gap = 0;
    const auto [end, error] = std::from_chars(name.data() + 6, name.data() + name.size(), gap);
    if (error == std::errc() && end == name.data() + name.size())
      return models::ServedSchedule::every(gap);
  }
  if (name == "pec")
    return models::ServedSchedule::newest(ChunkSchedule::pec(setting.length, setting.slots));
  if (name == "tsc")
    return models::ServedSchedule::newest(ChunkSchedule::tsc(setting.length, setting.slots));
  if (name == "exc")
    return models::ServedSchedule::newest(ChunkSchedule::exc(setting.length, setting.slots));
  throw DataError(path, 0, "expected a schedule pec, tsc, exc, every or every:G, got " + name);
}

template <class Controller>
class CmnRecService final : public ModelService<models::CmnRecServed<Controller>> {
 public:
  using Served = models::CmnRecServed<Controller>;

  CmnRecService(std::shared_ptr<models::CmnRec<Controller>> network,
                models::ServedSchedule schedule, Vocabulary items, std::int64_t padding_steps,
                std::size_t shards)
      : ModelService<Served>(Served(std::move(network), {.padding_steps = padding_steps}), items,
                             shards) {
    this->recommender().load("next", std::move(schedule),
                             {.targets = std::move(items), .leave_out = true});
  }

  std::string load(const std::string&) override {
    throw OptionError("a CmnRec model has only the task 'next' and loads no patches");
  }
  void unload(const std::string&) override {
    throw OptionError("a CmnRec model has only the task 'next', which cannot be unloaded");
  }
};

template <class Controller>
std::unique_ptr<Service> service_of(const cmnrec::ModelSetting& setting, const Vocabulary& items,
                                    const ServiceOptions& options, Checkpoint file) {
  const cmnrec::NetworkOptions& sizes = setting.network;
  models::ServedSchedule schedule = schedule_of(setting, options.base);
  const bool is_every_step =
      schedule.gap() == 1 || (schedule.of_newest() != nullptr &&
                              schedule.of_newest()->chunks() == schedule.of_newest()->steps());
  Random random(0);
  auto network = std::make_shared<models::CmnRec<Controller>>(
      typename models::CmnRec<Controller>::Options{
          .items = items.size(),
          .embedding = sizes.embedding,
          .hidden = sizes.hidden,
          .words = sizes.words,
          .word_size = sizes.word_size,
          .heads = sizes.heads,
          .layers = sizes.layers,
          .attention = is_every_step ? std::int64_t{0} : sizes.attention,
          .order = sizes.order == "paper" ? ChunkOrder::paper : ChunkOrder::reference_code},
      random, Placement{.fill = Fill::deferred});
  Saved saved(*network);
  load_model(std::move(file), saved);
  network->freeze();
  return std::make_unique<CmnRecService<Controller>>(std::move(network), std::move(schedule), items,
                                                     options.padding_steps.value_or(setting.length),
                                                     options.shards);
}

}  // namespace

std::unique_ptr<Service> open_cmnrec(const ServiceOptions& options, Checkpoint base) {
  if (!options.patches.empty())
    throw OptionError("--patch: expected a base of peterrec, got " + options.base +
                      ", a model of cmnrec");
  const Vocabulary items = Vocabulary::deserialize(
      examples::stored_text(base.info, options.base, "vocabulary"), options.base);
  const cmnrec::ModelSetting setting =
      cmnrec::model_config(base.info, options.base, items.size()).setting;
  if (!setting.has_memory()) {
    throw DataError(options.base, 0,
                    "expected a model of the kinds cmnrec or srmn, got " + setting.model);
  }
  return examples::build_stored(options.base, [&] {
    return setting.network.controller == "gru"
               ? service_of<Gru>(setting, items, options, std::move(base))
               : service_of<Lstm>(setting, items, options, std::move(base));
  });
}

std::unique_ptr<Service> open_service(const ServiceOptions& options) {
  Checkpoint base = read_checkpoint(options.base);
  const examples::StoredConfig config(base.info, options.base);
  const bool is_cmnrec = config.has("program") && config.text("program") == "cmnrec";
  return is_cmnrec ? open_cmnrec(options, std::move(base))
                   : open_peterrec(options, std::move(base));
}

}  // namespace refrain::serve
