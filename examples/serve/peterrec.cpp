#include "common/concat.hpp"
#include "peterrec/data.hpp"
#include "peterrec/network.hpp"
#include "refrain_models/peterrec_served.hpp"
#include "serve/open_service.hpp"

namespace refrain::serve {
namespace {

using models::PeterRecServed;

class PeterRecService final : public ModelService<PeterRecServed> {
 public:
  PeterRecService(peterrec::LoadedBase base, const ServiceOptions& options)
      : ModelService(PeterRecServed(base.network, {.padding_steps = options.padding_steps,
                                                   .base_hash = base.hash}),
                     base.vocabulary, options.shards, options.memory),
        base_(std::move(base)) {
    recommender().load("base", PeterRecServed::Task(nullptr, base_.note.length),
                       {.targets = base_.vocabulary, .leave_out = true});
    for (const std::string& patch : options.patches) {
      const std::size_t before = tasks().size();
      const std::string task = load(patch, {});
      if (tasks().size() == before)
        throw OptionError(examples::concat("--patch: expected one file per task, got ", patch,
                                           " for task ", task, " again"));
    }
  }

  std::string load(const std::string& file, std::string_view expected) override {
    peterrec::LoadedPatch patch = peterrec::load_patch_set(file, base_);
    expect_task(file, patch.note.task, expected);
    const peterrec::TaskKind kind = peterrec::task_kind(patch.note.task);
    recommender().load(patch.note.task,
                       PeterRecServed::Task(std::move(patch.set), patch.note.length),
                       {.targets = std::move(patch.note.targets),
                        .leave_out = kind == peterrec::TaskKind::next,
                        .probabilities = kind == peterrec::TaskKind::profile});
    return patch.note.task;
  }

  void unload(const std::string& task) override {
    if (task == "base") throw OptionError("task 'base' belongs to the base and cannot be unloaded");
    ModelService::unload(task);
  }

 private:
  peterrec::LoadedBase base_;
};

}  // namespace

std::unique_ptr<Service> open_peterrec(const ServiceOptions& options, Checkpoint base) {
  return std::make_unique<PeterRecService>(peterrec::load_base(std::move(base)), options);
}

}  // namespace refrain::serve
