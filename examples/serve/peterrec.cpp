#include "models/peterrec_served.hpp"
#include "peterrec/data.hpp"
#include "peterrec/network.hpp"
#include "serve/service.hpp"

namespace refrain::serve {
namespace {

using models::PeterRecServed;

class PeterRecService final : public ModelService<PeterRecServed> {
 public:
  PeterRecService(peterrec::LoadedBase base, const ServiceOptions& options)
      : ModelService(PeterRecServed(base.network, {.padding_steps = options.padding_steps}), base.vocabulary, options.shards),
        base_(std::move(base)) {
    recommender().load("base", PeterRecServed::Task(nullptr, base_.note.length),
                       {.targets = base_.vocabulary, .leave_out = true});
    for (const std::string& patch : options.patches) load(patch);
  }

  std::string load(const std::string& file) override {
    peterrec::LoadedPatch patch = peterrec::load_patch_set(file, base_);
    recommender().load(patch.note.task, PeterRecServed::Task(std::move(patch.set), patch.note.length),
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
