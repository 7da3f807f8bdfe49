#pragma once
/// The methods of compare: their networks and trained parameters.

#include <memory>
#include <string>
#include <vector>

#include "peterrec/config.hpp"
#include "peterrec/data.hpp"

namespace refrain::peterrec {

/// The parts of the base that are trained together with the head.
enum class BaseTraining : std::uint8_t { frozen, last_block, last_two_blocks, all };

/// A method to learn a task.
struct Method {
  const char* title = "";
  Insertion insertion = Insertion::none;
  bool two_per_block = true;
  BaseTraining base = BaseTraining::frozen;
  bool pretrained = true;
  bool joint = false;  ///< adds the source loss (multi-task learning)
};
const Method& method(MethodName name);

/// A base, owned or shared, and the patch set of one task.
///
/// With a frozen base, the module has only the parameters of the task, as a patch file does. A base
/// with trained parameters is a copy that belongs to the module ("base.*").
class TaskNetwork final : public Module {
 public:
  TaskNetwork(std::shared_ptr<NextItNet> base, const Method& method, const TaskOptions& options,
              const TaskData& task, Random& random);

  Variable user(const Tensor& ids) const { return base_->with(task_).user(ids); }
  const NextItNet& base() const noexcept { return *base_; }
  NextItNet& base() noexcept { return *base_; }
  const PatchSet& task() const noexcept { return task_; }
  PatchSet& task() noexcept { return task_; }

  void visit_members(Visitor& visitor) override {
    if (owns_base_) visitor.module("base", *base_);
    visitor.module("task", task_);
  }

 private:
  static std::shared_ptr<NextItNet> base_for(std::shared_ptr<NextItNet> base, const Method& method,
                                             Random& random);

  bool owns_base_;
  std::shared_ptr<NextItNet> base_;
  PatchSet task_;
};

struct LoadedBase;

/// An untrained base for the vocabulary of the data. Throws OptionError if the vocabulary is too
/// large for a base file.
struct NewBase {
  std::shared_ptr<NextItNet> network;
  Vocabulary vocabulary;
};
NewBase new_base(const Options& options, const RawData& raw);
/// The untrained network of a base. `from`: the base of --from, whose architecture and known items
/// it has; null without this option.
std::shared_ptr<NextItNet> base_network(const Options& options, const Vocabulary& vocabulary,
                                        const LoadedBase* from = nullptr);

/// Takes the architecture, and unless it is given the dropout, from the base of --from. Throws
/// OptionError about a given option with another value.
void take_architecture(const LoadedBase& from, Options& options);

/// The options of a method's patch set.
PatchSet::Options patch_set_options(const Method& method, const TaskOptions& options,
                                    models::HeadOptions head);

void save_base(const std::string& path, const NextItNet& base, const Vocabulary& vocabulary,
               const BaseNote& note);
struct LoadedBase {
  std::string path;
  std::shared_ptr<NextItNet> network;
  Vocabulary vocabulary;
  BaseNote note;
  std::string hash;
};
/// Reads a base and moves its network to the device.
LoadedBase load_base(Checkpoint file, Device device = Device::cpu);
LoadedBase load_base(const std::string& path, Device device = Device::cpu);

/// Throws OptionError, with `what` as the place, if the base was trained on each user's last items,
/// on which the next-item task tests.
void expect_held_out(const LoadedBase& base, const std::string& what);

void save_patch_set(const std::string& path, const PatchSet& set, const std::string& base_hash,
                    const PatchNote& note);
struct LoadedPatch {
  PatchNote note;
  std::unique_ptr<PatchSet> set;
};
/// Reads patches and moves them to the base's device. Throws DataError when the file is damaged or
/// belongs to another base.
LoadedPatch load_patch_set(const std::string& path, const LoadedBase& base);

}  // namespace refrain::peterrec
