#pragma once
/// PeterRec as a Recommender serves it: one base, a patch set for each task.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "refrain/data/vocabulary.hpp"
#include "refrain/serve/model.hpp"
#include "refrain/train/content_hash.hpp"
#include "refrain_models/peterrec.hpp"

namespace refrain::models {

/// Serves a base network and patch sets; the task without patches scores the next item by the
/// base's own head.
///
/// A stream holds the latest inputs of every convolution under the task's patches. An item costs
/// one step of the blocks. [TCL] is one more step that does not join the stream. With a two-way
/// base, whose steps look ahead, no task is incremental.
class PeterRecServed {
 public:
  struct Options {
    /// Padding that stands before every stream, as it stands before short histories in training
    /// batches; 0: the bare stream; none given: the task's length, so that a two-way base reads
    /// just what training showed it.
    std::optional<std::int64_t> padding_steps = 0;
  };

  struct Stream {
    NextItNet::History history;
    /// hidden vector of the newest step [1,1,C]; never written to, so copies may share it
    Tensor last;
  };

  class Task {
   public:
    /// Patches may be null: the base's own head. `length` is what the task was trained with: the
    /// steps that a two-way base reads, [TCL] not counted; a causal one reads as many as it
    /// reaches. Throws OptionError for a length below 1.
    explicit Task(std::shared_ptr<const PatchSet> patches = nullptr, std::int64_t length = 50)
        : patches_(std::move(patches)),
          length_(length),
          identity_(
              concat(patches_ == nullptr ? "base" : content_hash(*patches_), ", length ", length)) {
      if (length < 1)
        throw OptionError(
            concat("PeterRecServed::Task: expected a length of at least 1, got ", length));
    }

    const PatchSet* patches() const noexcept { return patches_.get(); }
    std::int64_t length() const noexcept { return length_; }
    const std::string& identity() const noexcept { return identity_; }

   private:
    std::shared_ptr<const PatchSet> patches_;
    std::int64_t length_;
    std::string identity_;
  };

  /// Throws OptionError for a negative padding_steps.
  PeterRecServed(std::shared_ptr<const NextItNet> base, Options options)
      : base_(std::move(base)),
        options_(options),
        identity_(concat(
            "peterrec ", content_hash(*base_), ", padding ",
            options.padding_steps ? concat(*options.padding_steps) : "of each task's length")) {
    if (options.padding_steps.value_or(0) < 0)
      throw OptionError(
          concat("PeterRecServed: expected padding_steps >= 0, got ", *options.padding_steps));
  }
  explicit PeterRecServed(std::shared_ptr<const NextItNet> base)
      : PeterRecServed(std::move(base), Options{}) {}

  const NextItNet& base() const noexcept { return *base_; }
  const std::string& identity() const noexcept { return identity_; }
  bool is_incremental(const Task&) const { return base_->is_causal(); }

  Stream start(const Task& task, std::span<const std::int32_t> items) const {
    const NoGrad off;
    Stream stream{base_->start(), Tensor::zeros({1, 1, base_->channels()}, DType::f32)};
    const std::vector<std::int32_t> first = newest(task, items, base_->reach());
    if (first.empty()) return stream;
    const Tensor ids = row(first);
    const Tensor hidden =
        (task.patches() == nullptr ? base_->start(base_->embed(ids), stream.history)
                                   : task.patches()->start(*base_, ids, stream.history))
            .value();
    stream.last = hidden.reshape({hidden.size(1), 1, hidden.size(2)})
                      .slice(hidden.size(1) - 1, hidden.size(1))
                      .clone();
    return stream;
  }

  void advance(const Task& task, Stream& stream, std::int32_t item) const {
    const NoGrad off;
    const Tensor id = row({&item, 1});
    stream.last = (task.patches() == nullptr ? base_->advance(base_->embed(id), stream.history)
                                             : task.patches()->advance(*base_, id, stream.history))
                      .value();
  }

  Tensor scores(const Task& task, const Stream& stream) const {
    const NoGrad off;
    if (task.patches() == nullptr)
      return base_->scores_of(Variable(stream.last.reshape({1, base_->channels()})));
    return task.patches()->scores(
        task.patches()->user_after(*base_, row({&tcl_id, 1}), stream.history));
  }

  Tensor scores(const Task& task, std::span<const std::int32_t> items) const {
    const NoGrad off;
    const bool hides = !base_->is_causal() && task.patches() == nullptr;
    const std::int64_t seen = base_->is_causal() ? base_->reach() : task.length() - (hides ? 1 : 0);
    std::vector<std::int32_t> ids = newest(task, items, seen);
    if (hides)
      ids.push_back(mask_id);  // a two-way base guesses a hidden item: here the one after the last
    if (task.patches() == nullptr) return base_->scores(row(ids));
    if (!base_->is_causal()) ids.insert(ids.begin(), tcl_id);
    ids.push_back(tcl_id);
    return task.patches()->scores(task.patches()->user(*base_, row(ids)));
  }

  template <class AnyStream, class Visitor>
  void visit(const Task&, AnyStream& stream, Visitor&& visitor) const {
    for (auto& block : stream.history) ConvBlock::History::visit(block, visitor);
    visitor(stream.last);
  }

 private:
  static Tensor row(std::span<const std::int32_t> ids) {
    return Tensor::from<std::int32_t>({1, static_cast<std::int64_t>(ids.size())}, ids);
  }

  /// The newest `count` ids of padding and items.
  std::vector<std::int32_t> newest(const Task& task, std::span<const std::int32_t> items,
                                   std::int64_t count) const {
    const std::int64_t shown = std::min(count, static_cast<std::int64_t>(items.size()));
    const std::int64_t padding =
        std::min(options_.padding_steps.value_or(task.length()), count - shown);
    std::vector<std::int32_t> ids(static_cast<std::size_t>(padding), padding_id);
    ids.insert(ids.end(), items.end() - shown, items.end());
    return ids;
  }

  std::shared_ptr<const NextItNet> base_;
  Options options_;
  std::string identity_;
};

}  // namespace refrain::models
