#pragma once
/// The methods that are compared: which network, and which of its parameters learn.

#include <memory>
#include <string>
#include <vector>

#include "peterrec/config.hpp"
#include "peterrec/data.hpp"

namespace refrain::peterrec {

/// The parts of the base that learn together with the head.
enum class BaseTraining : std::uint8_t { frozen, last_block, last_two_blocks, all };

/// One way to learn a task.
struct Method {
  const char* title = "";
  Insertion insertion = Insertion::none;
  bool two_per_block = true;
  BaseTraining base = BaseTraining::frozen;
  bool pretrained = true;
  bool joint = false;  ///< the source loss is trained along (multi-task learning)
};
const Method& method(MethodName name);

/// A base, alone or shared with others, and the parts of one task.
///
/// With a frozen base the module's parameters are those of the task: an optimizer changes them and
/// a patch file holds them. A base of which anything learns is an own copy and part of the module
/// ("base.*").
class TaskNetwork final : public Module {
 public:
  TaskNetwork(std::shared_ptr<NextItNet> base, const Method& method, const TaskOptions& options,
              const TaskData& task, Random& random);

  Variable user(const Tensor& ids) const { return base_->with(task_).user(ids); }
  const NextItNet& base() const noexcept { return *base_; }
  const PatchSet& task() const noexcept { return task_; }

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

/// An untrained base, for the vocabulary of the data. Throws OptionError where a base file has no
/// room for the vocabulary.
struct NewBase {
  std::shared_ptr<NextItNet> network;
  Vocabulary vocabulary;
};
NewBase new_base(const Options& options, const RawData& raw);

/// The parts of a task.
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
/// The network is moved to the device.
LoadedBase load_base(Checkpoint file, Device device = Device::cpu);
LoadedBase load_base(const std::string& path, Device device = Device::cpu);

/// The next-item task tests on each user's last items. Throws OptionError, naming what was asked
/// for, when the base has learned them.
void expect_held_out(const LoadedBase& base, const std::string& what);

void save_patch_set(const std::string& path, const PatchSet& set, const std::string& base_hash,
                    const PatchNote& note);
struct LoadedPatch {
  PatchNote note;
  std::unique_ptr<PatchSet> set;
};
/// The patches are moved to the base's device. Throws DataError when the file is damaged or was
/// made for another base.
LoadedPatch load_patch_set(const std::string& path, const LoadedBase& base);

}  // namespace refrain::peterrec
