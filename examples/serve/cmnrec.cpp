#include <fmt/format.h>

#include "cmnrec/config.hpp"
#include "cmnrec/memory_network.hpp"
#include "common/saved_config.hpp"
#include "refrain/train/model_file.hpp"
#include "refrain_models/cmnrec_served.hpp"
#include "serve/open_service.hpp"

namespace refrain::serve {
namespace {

/// Visits the network's parameters with the names that the cmnrec program gives them.
template <class Network>
class Saved final : public Module {
 public:
  explicit Saved(Network& network) : network_(network) {}
  void visit_members(Visitor& visitor) override { visitor.module("network", network_); }

 private:
  Network& network_;
};

/// The time steps at which the model was trained to access its memory. Throws DataError for a list.
models::ServedSchedule schedule_of(const cmnrec::ModelOptions& model, const std::string& path) {
  using Kind = cmnrec::Schedule::Kind;
  if (model.kind == cmnrec::ModelKind::srmn) return models::ServedSchedule::every(1);
  if (model.schedule.kind == Kind::every) return models::ServedSchedule::every(model.schedule.gap);
  if (model.schedule.kind != Kind::list) return models::ServedSchedule::newest(model.chunks());
  throw DataError(
      path, 0, "expected a schedule pec, tsc, exc, every or every:G, got " + model.schedule.text());
}

template <class Controller>
class CmnRecService final : public ModelService<models::CmnRecServed<Controller>> {
 public:
  using Served = models::CmnRecServed<Controller>;

  CmnRecService(std::shared_ptr<models::CmnRec<Controller>> network,
                models::ServedSchedule schedule, Vocabulary items, std::int64_t padding_steps,
                const ServiceOptions& options)
      : ModelService<Served>(Served(std::move(network), {.padding_steps = padding_steps}), items,
                             options.shards, options.memory) {
    this->recommender().load("next", std::move(schedule),
                             {.targets = std::move(items), .leave_out = true});
  }

  std::string load(const std::string&, std::string_view) override {
    throw OptionError("a CmnRec model has only the task 'next' and loads no patches");
  }
  void unload(const std::string&) override {
    throw OptionError("a CmnRec model has only the task 'next', which cannot be unloaded");
  }
};

template <class Controller>
std::unique_ptr<Service> service_of(const cmnrec::ModelOptions& model, const Vocabulary& items,
                                    const ServiceOptions& options, Checkpoint file) {
  models::ServedSchedule schedule = schedule_of(model, options.model);
  auto sizes = cmnrec::memory_options<Controller>(model, items.size());
  sizes.keep = 1;
  Random random(0);
  auto network = std::make_shared<models::CmnRec<Controller>>(sizes, random,
                                                              Placement{.fill = Fill::deferred});
  Saved saved(*network);
  load_model(std::move(file), saved);
  network->freeze();
  return std::make_unique<CmnRecService<Controller>>(std::move(network), std::move(schedule), items,
                                                     options.padding_steps.value_or(model.length),
                                                     options);
}

}  // namespace

std::unique_ptr<Service> open_cmnrec(const ServiceOptions& options, Checkpoint base) {
  if (!options.patches.empty())
    throw OptionError("--patch: expected a base of peterrec, got " + options.model +
                      ", a model of cmnrec");
  const Vocabulary items = vocabulary_of(base);
  const cmnrec::ModelOptions model =
      cmnrec::model_config(base.info, options.model, items.size()).model;
  if (!model.has_memory()) {
    throw DataError(options.model, 0,
                    fmt::format("expected a model of the kinds cmnrec or srmn, got {}",
                                examples::name_of(model.kind)));
  }
  return examples::build_stored(options.model, [&] {
    return model.controller == cmnrec::ControllerKind::gru
               ? service_of<Gru>(model, items, options, std::move(base))
               : service_of<Lstm>(model, items, options, std::move(base));
  });
}

std::unique_ptr<Service> open_service(const ServiceOptions& options) {
  Checkpoint base = read_checkpoint(options.model);
  const bool is_cmnrec = examples::StoredConfig(base.info, options.model).is_of_program("cmnrec");
  return is_cmnrec ? open_cmnrec(options, std::move(base))
                   : open_peterrec(options, std::move(base));
}

}  // namespace refrain::serve
