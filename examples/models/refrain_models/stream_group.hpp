#pragma once
/// The next time step of many streams of one base network, each under its task, in one pass.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "refrain_models/peterrec.hpp"

namespace refrain::models {

/// What a StreamGroup reads of a task: its patches, second normalizations and [TCL]. A copy, in the
/// order in which a pass reads it: the patches of many tasks come from memory, and contiguous bytes
/// come faster than scattered ones.
class TaskOfStreams {
 public:
  /// The base without patches.
  TaskOfStreams() = default;
  /// Throws OptionError for a patch set off the CPU.
  explicit TaskOfStreams(const PatchSet& patches) : tcl_id_(patches.options().tcl_id) {
    if (patches.tcl_.defined()) tcl_ = patches.tcl_.value().clone();
    const std::int64_t blocks = std::ssize(patches.patches_) / patches.patches_per_block();
    for (std::int64_t block = 0; block < blocks; ++block)
      blocks_.emplace_back(patches.patches_of(block));
    if (blocks_.empty()) return;
    std::int64_t size = 0;
    for_arrays([&](const void*&, std::int64_t bytes) { size += bytes; });
    copy_ = Tensor({size / static_cast<std::int64_t>(sizeof(float))}, DType::f32);
    char* at = static_cast<char*>(copy_.raw());
    for_arrays([&](const void*& array, std::int64_t bytes) {
      std::memcpy(at, array, static_cast<std::size_t>(bytes));
      array = at;
      at += bytes;
    });
  }

 private:
  friend class StreamGroup;

  /// Calls function(array, bytes) for each array of each half of a block, in the order of reading.
  template <class Function>
  void for_arrays(const Function& function) {
    for (ConvBlock::OfTask& block : blocks_) {
      for (HalfOfTask* const half : {&block.first, &block.second}) {
        const auto array = [&](const void*& elements, std::int64_t count) {
          const std::size_t size = size_bytes(half->dtype);
          if (elements != nullptr) function(elements, count * static_cast<std::int64_t>(size));
        };
        array(half->down, half->channels * half->bottleneck);
        array(half->down_bias, half->bottleneck);
        array(half->up, half->channels * half->bottleneck);
        array(half->up_bias, half->channels);
        array(half->gamma, half->channels);
        array(half->beta, half->channels);
      }
    }
  }

  /// Null when the task has patches in another number of blocks.
  const ConvBlock::OfTask* of_block(std::size_t block, std::int64_t blocks) const {
    static const ConvBlock::OfTask none;
    if (blocks_.empty()) return &none;
    return std::ssize(blocks_) == blocks ? &blocks_[block] : nullptr;
  }

  std::vector<ConvBlock::OfTask> blocks_;  ///< empty: no patches; refers to copy_
  Tensor copy_;
  Tensor tcl_;  ///< [1,C], or undefined
  std::int64_t tcl_id_ = -1;
};

/// One more item of each of many streams, computed in one pass: the base's products run for all
/// streams together, those of a patch for the streams of its task.
///
///   h = hidden_next(stream, id) of each row, [B,C]
///
/// A row has the bits that it has alone, whatever the other rows are. Rows of a task should lie
/// side by side. Creating a group changes no stream; append() does. Throws ShapeError for ids
/// outside the table and for patches of another number of blocks, and the errors of
/// ConvBlock::at_next_of_streams(). On the CPU, f32 or f64.
class StreamGroup {
 public:
  struct Row {
    const TaskOfStreams* task = nullptr;
    const ItemStream* stream = nullptr;
    std::int32_t id = 0;  ///< the item, or [TCL]
  };

  StreamGroup(const NextItNet& base, std::span<const Row> rows) {
    const NoGrad off;
    Variable x(embed(base, rows));
    std::vector<const ConvBlock::History*> histories(rows.size());
    std::vector<const ConvBlock::OfTask*> tasks(rows.size());
    for (std::int64_t i = 0; i < base.blocks(); ++i) {
      const std::size_t block = static_cast<std::size_t>(i);
      for (std::size_t b = 0; b < rows.size(); ++b) {
        histories[b] = &rows[b].stream->history.at(block);
        tasks[b] = rows[b].task->of_block(block, base.blocks());
        if (tasks[b] == nullptr)
          throw ShapeError(detail::concat("StreamGroup: expected patches of ", base.blocks(),
                                          " blocks, got patches of another number"));
      }
      ConvBlock::StepOfStreams step = base.block(i).at_next_of_streams(x, histories, tasks);
      inputs_.push_back(x.value());
      halves_.push_back(std::move(step.h));
      x = Variable(std::move(step.y));
    }
    hidden_ = x.value();
  }

  /// h of all rows, [B,C].
  const Tensor& hidden() const noexcept { return hidden_; }

  /// Appends the item of each row to streams[row], a stream as that of the row, as
  /// BlockStack::advance() does. When it throws, no stream has changed.
  void append(std::span<ItemStream* const> streams) const {
    std::vector<Tensor> last;
    last.reserve(streams.size());
    const char* row = static_cast<const char*>(hidden_.raw());
    for (std::size_t b = 0; b < streams.size(); ++b) {
      last.emplace_back(Shape({1, 1, hidden_.size(1)}), hidden_.dtype());
      std::memcpy(last.back().raw(), row, last.back().bytes());
      row += last.back().bytes();
    }
    for (std::size_t b = 0; b < streams.size(); ++b) {
      for (std::size_t i = 0; i < inputs_.size(); ++i)
        streams[b]->history[i].push(inputs_[i], halves_[i], static_cast<std::int64_t>(b));
      streams[b]->last = std::move(last[b]);
    }
  }

 private:
  /// Item vectors [B,C], with the task's vector at [TCL].
  static Tensor embed(const NextItNet& base, std::span<const Row> rows) {
    Tensor ids({std::ssize(rows)}, DType::i32);
    for (std::size_t b = 0; b < rows.size(); ++b) ids.data<std::int32_t>()[b] = rows[b].id;
    Tensor x = base.embed(ids).value();
    for (std::size_t b = 0; b < rows.size(); ++b) {
      const TaskOfStreams& task = *rows[b].task;
      if (!task.tcl_.defined() || rows[b].id != task.tcl_id_) continue;
      const std::int64_t row = static_cast<std::int64_t>(b);
      x.slice(row, row + 1).copy_from(task.tcl_);
    }
    return x;
  }

  std::vector<Tensor> inputs_;  ///< x of each block
  std::vector<Tensor> halves_;  ///< half1(x) of each block
  Tensor hidden_;
};

}  // namespace refrain::models
