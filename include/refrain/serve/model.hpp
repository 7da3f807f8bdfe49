#pragma once
/// The models that a Recommender serves.

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "refrain/core/tensor.hpp"

namespace refrain {

/// A model that recommends after a history, with one set of shared parameters and any number of
/// tasks.
///
/// Model    The part that all tasks share.
/// Task     The part of one task: patches, a head, a schedule.
/// Stream   The state of the model for one history under one task. A value: copies are independent.
///
///   model.identity(), task.identity()
///       texts that identify their contents, for instance content hashes
///   model.is_incremental(task)
///       true when the task has streams; a schedule that counts from the end has no streams
///   model.start(task, items)
///       the stream after these items; `items` may be empty
///   model.advance(task, stream, item)
///       appends one item: the work of one time step
///   model.scores(task, stream)
///       f32 [1,targets] after the items of the stream, which is not changed; the caller may
///       overwrite the scores
///   model.scores(task, items)
///       the same by a full pass
///   model.visit(task, stream, visitor)
///       visitor(part) for each part of a stream, Tensors and std::int64_t, to save a const
///       stream or to fill a stream of start(); throws DataError for parts that do not fit
///
/// Optional functions answer many streams in one pass (GroupServedModel).
///
/// Model and Task are immutable and used from many threads at once.
template <class M>
concept ServedModel = std::copyable<typename M::Stream> &&
    requires(const M& model, const typename M::Task& task, typename M::Stream& stream,
             const typename M::Stream& seen, std::int32_t item,
             std::span<const std::int32_t> items) {
  { model.identity() } -> std::convertible_to<std::string>;
  { task.identity() } -> std::convertible_to<std::string>;
  { model.is_incremental(task) } -> std::same_as<bool>;
  { model.start(task, items) } -> std::same_as<typename M::Stream>;
  model.advance(task, stream, item);
  { model.scores(task, seen) } -> std::same_as<Tensor>;
  { model.scores(task, items) } -> std::same_as<Tensor>;
};

/// A stream of a group, and the item that it gets.
template <class Model>
struct StreamEvent {
  const typename Model::Task* task = nullptr;
  typename Model::Stream* stream = nullptr;
  std::int32_t item = 0;
};

/// A stream of a group that is asked for scores.
template <class Model>
struct StreamQuery {
  const typename Model::Task* task = nullptr;
  const typename Model::Stream* stream = nullptr;
};

/// A model that serves groups of streams, under any mix of tasks, faster than one by one.
///
///   model.advance(std::span<const StreamEvent<Model>>)
///       advance() of each event; no stream occurs twice. When it throws, no stream has changed
///   model.scores(std::span<const StreamQuery<Model>>, take)
///       calls take(i, scores) for each query i, in any order, with the scores(task, stream) of it
///
/// Streams and scores have the bits that the functions for one stream give them, whatever the other
/// streams of the group are.
template <class M>
concept GroupServedModel = ServedModel<M> &&
    requires(const M& model, std::span<const StreamEvent<M>> events,
             std::span<const StreamQuery<M>> queries, void (*take)(std::size_t, Tensor)) {
  model.advance(events);
  model.scores(queries, take);
};

}  // namespace refrain
