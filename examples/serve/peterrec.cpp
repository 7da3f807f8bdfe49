#include "models/peterrec_served.hpp"
#include "peterrec/data.hpp"
#include "peterrec/network.hpp"
#include "serve/service.hpp"

namespace refrain::serve {
namespace {

class PeterRecService final : public ModelService<models::PeterRecServed> {
 public:
  PeterRecService(peterrec::LoadedBase base, const ServiceOptions& options)
      : ModelService(models::PeterRecServed(base.network, {.padding_steps = options.padding_steps}), base.vocabulary,
                     options.shards),
        base_(std::move(base)) {
    recommender().load("base", models::PeterRecServed::Task(), {.targets = base_.vocabulary, .leave_out = true});
    for (const std::string& patch : options.patches) load(patch);
  }

  std::string load(const std::string& file) override {
    peterrec::LoadedPatch patch = peterrec::load_patch_set(file, base_);
    recommender().load(patch.note.task, models::PeterRecServed::Task(std::move(patch.set)),
                       {.targets = std::move(patch.note.targets),
                        .leave_out = peterrec::task_kind(patch.note.task) == peterrec::TaskKind::next});
    return patch.note.task;
  }

 private:
  peterrec::LoadedBase base_;
};

}  // namespace

std::unique_ptr<Service> open_peterrec(const ServiceOptions& options) {
  return std::make_unique<PeterRecService>(peterrec::load_base(options.base), options);
}

}  // namespace refrain::serve
