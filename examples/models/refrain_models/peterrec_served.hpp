#pragma once
/// PeterRec for a Recommender: one base, and a patch set for each task.

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "refrain/data/vocabulary.hpp"
#include "refrain/serve/model.hpp"
#include "refrain/train/content_hash.hpp"
#include "refrain_models/stream_group.hpp"

namespace refrain::models {

/// Serves a base network and patch sets; the task without patches scores the next item with the
/// base's head.
///
/// A stream holds the latest inputs of every convolution under the task's patches, and an item
/// costs one time step of the blocks. [TCL] is one more time step, which is not appended to the
/// stream. With a non-causal base, whose time steps look ahead, no task is incremental. On the CPU,
/// f32 or f64.
class PeterRecServed {
 public:
  struct Options {
    /// Length of the padding before every stream, as before short histories in training batches; 0:
    /// no padding; no value: the length of the task, which a non-causal base needs to read
    /// histories as in training.
    std::optional<std::int64_t> padding_steps = 0;
    std::string base_hash = {};  ///< content_hash() of the base; empty: the constructor computes it
  };

  using Stream = NextItNet::Stream;

  class Task {
   public:
    /// Null patches: the base's head scores the next item. `length`: time steps in the task's
    /// training, without [TCL]. A non-causal base reads this many; a causal one reads its receptive
    /// field. The patches must not change afterwards; the task also holds a copy of them for groups
    /// of streams. Throws OptionError for a length below 1 and for patches off the CPU.
    explicit Task(std::shared_ptr<const PatchSet> patches = nullptr, std::int64_t length = 50)
        : patches_(std::move(patches)),
          length_(length),
          identity_(detail::concat(patches_ == nullptr ? "base" : content_hash(*patches_),
                                   ", length ", length)) {
      if (length < 1)
        throw OptionError(
            detail::concat("PeterRecServed::Task: expected a length >= 1, got ", length));
      if (patches_ != nullptr) of_streams_ = TaskOfStreams(*patches_);
    }

    const PatchSet* patches() const noexcept { return patches_.get(); }
    std::int64_t length() const noexcept { return length_; }
    const std::string& identity() const noexcept { return identity_; }
    const TaskOfStreams& of_streams() const noexcept { return of_streams_; }

   private:
    std::shared_ptr<const PatchSet> patches_;
    std::int64_t length_;
    std::string identity_;
    TaskOfStreams of_streams_;
  };

  /// Throws OptionError for a negative padding_steps.
  PeterRecServed(std::shared_ptr<const NextItNet> base, Options options)
      : base_(std::move(base)),
        options_(std::move(options)),
        identity_(detail::concat(
            "peterrec ", options_.base_hash.empty() ? content_hash(*base_) : options_.base_hash,
            ", padding ",
            options_.padding_steps ? detail::concat(*options_.padding_steps)
                                   : "of each task's length")) {
    if (options_.padding_steps.value_or(0) < 0)
      throw OptionError(detail::concat("PeterRecServed: expected padding_steps >= 0, got ",
                                       *options_.padding_steps));
  }
  explicit PeterRecServed(std::shared_ptr<const NextItNet> base)
      : PeterRecServed(std::move(base), Options{}) {}

  const NextItNet& base() const noexcept { return *base_; }
  const std::string& identity() const noexcept { return identity_; }
  bool is_incremental(const Task&) const { return base_->is_causal(); }

  /// The stream after padding and items. Throws OptionError for a non-causal base.
  Stream start(const Task& task, std::span<const std::int32_t> items) const {
    const std::vector<std::int32_t> ids = newest(task, items, base_->reach());
    if (ids.empty()) return base_->start();
    return under(task, [&](const auto& network) { return network.start(row(ids)); });
  }

  void advance(const Task& task, Stream& stream, std::int32_t item) const {
    under(task, [&](const auto& network) { network.advance(stream, row({&item, 1})); });
  }

  Tensor scores(const Task& task, const Stream& stream) const {
    return under(task, [&](const auto& network) { return network.scores(stream); });
  }

  Tensor scores(const Task& task, std::span<const std::int32_t> items) const {
    return under(task, [&](const auto& network) {
      return network.scores(row(full_pass_ids(network, task, items)));
    });
  }

  /// advance() of many streams in one pass. No stream occurs twice; when it throws, none has
  /// changed.
  void advance(std::span<const StreamEvent<PeterRecServed>> events) const {
    if (events.empty()) return;
    std::vector<StreamGroup::Row> rows;
    std::vector<Stream*> streams;
    for (const std::size_t i : by_task(events)) {
      const auto& [task, stream, item] = events[i];
      rows.push_back({&task->of_streams(), stream, item});
      streams.push_back(stream);
    }
    StreamGroup(*base_, rows).append(streams);
  }

  /// Calls take(i, scores) with the scores of each stream; one pass computes [TCL] for all of them.
  /// Full passes over histories have no such function: one has as many rows as the base reads time
  /// steps, so its products are efficient alone.
  template <class Take>
  void scores(std::span<const StreamQuery<PeterRecServed>> queries, Take&& take) const {
    const std::vector<std::size_t> order = by_task(queries);
    std::vector<StreamGroup::Row> rows;
    for (const std::size_t i : order) {
      const auto& [task, stream] = queries[i];
      if (task->patches() != nullptr) rows.push_back({&task->of_streams(), stream, tcl_id});
    }
    // Streams without patches are first in the order.
    const std::size_t plain = order.size() - rows.size();
    Tensor hidden;
    if (!rows.empty()) hidden = StreamGroup(*base_, rows).hidden();
    const auto take_all = [&](std::size_t first, std::size_t end, const Tensor& scores) {
      for (std::size_t at = first; at < end; ++at) {
        const std::int64_t row = static_cast<std::int64_t>(at - first);
        take(order[at], scores.slice(row, row + 1));
      }
    };
    for (std::size_t first = 0, end = 0; first < order.size(); first = end) {
      const Task* const task = queries[order[first]].task;
      while (end < order.size() && end - first < head_rows && queries[order[end]].task == task)
        ++end;
      const NoGrad off;
      if (task->patches() != nullptr) {
        const Tensor users = hidden.slice(static_cast<std::int64_t>(first - plain),
                                          static_cast<std::int64_t>(end - plain));
        take_all(first, end, task->patches()->scores(Variable(users)));
      } else {
        Tensor users({static_cast<std::int64_t>(end - first), base_->channels()},
                     queries[order[first]].stream->last.dtype());
        for (std::size_t at = first; at < end; ++at) {
          const std::int64_t row = static_cast<std::int64_t>(at - first);
          users.slice(row, row + 1)
              .copy_from(queries[order[at]].stream->last.reshape({1, base_->channels()}));
        }
        take_all(first, end, base_->scores_of(Variable(users)));
      }
    }
  }

  template <class AnyStream, class Visitor>
  void visit(const Task&, AnyStream& stream, Visitor&& visitor) const {
    for (auto& block : stream.history) ConvBlock::History::visit(block, visitor);
    visitor(stream.last);
  }

 private:
  /// Rows of a product with a head: up to this many rows a row has the bits that it has alone.
  static constexpr std::size_t head_rows = 4;

  /// The indices of a group in an order in which members of the same task lie side by side, those
  /// without patches first.
  template <class Member>
  static std::vector<std::size_t> by_task(std::span<const Member> group) {
    std::vector<std::size_t> order(group.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      const Task& left = *group[a].task;
      const Task& right = *group[b].task;
      const bool left_patched = left.patches() != nullptr,
                 right_patched = right.patches() != nullptr;
      if (left_patched != right_patched) return right_patched;
      return std::less<>()(&left, &right);
    });
    return order;
  }

  /// Calls function(network) with the network of the task: the base, or the base with patches.
  template <class Function>
  std::invoke_result_t<Function, const NextItNet&> under(const Task& task,
                                                         const Function& function) const {
    return task.patches() == nullptr ? function(*base_) : function(base_->with(*task.patches()));
  }

  /// A non-causal base predicts a masked item, here the one after the last.
  std::vector<std::int32_t> full_pass_ids(const NextItNet& base, const Task& task,
                                          std::span<const std::int32_t> items) const {
    if (base.is_causal()) return newest(task, items, base.reach());
    std::vector<std::int32_t> ids = newest(task, items, task.length() - 1);
    ids.push_back(mask_id);
    return ids;
  }

  /// [TCL] is last, and with a non-causal base also first.
  std::vector<std::int32_t> full_pass_ids(const PatchedNextItNet& network, const Task& task,
                                          std::span<const std::int32_t> items) const {
    const bool causal = network.is_causal();
    std::vector<std::int32_t> ids = newest(task, items, causal ? network.reach() : task.length());
    if (!causal) ids.insert(ids.begin(), tcl_id);
    ids.push_back(tcl_id);
    return ids;
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

  static Tensor row(std::span<const std::int32_t> ids) {
    return Tensor::from<std::int32_t>({1, static_cast<std::int64_t>(ids.size())}, ids);
  }

  std::shared_ptr<const NextItNet> base_;
  Options options_;
  std::string identity_;
};

}  // namespace refrain::models
