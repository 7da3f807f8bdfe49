#pragma once
/// What a Recommender asks of a model.

#include <concepts>
#include <cstdint>
#include <span>
#include <string>

#include "refrain/core/tensor.hpp"

namespace refrain {

/// A model that recommends from what a user did, with one set of shared parameters and any number
/// of tasks on top of it.
///
/// Model    what all tasks share.
/// Task     what one task adds: patches, a head, a schedule.
/// Stream what the model remembers of one user's items under one task. A value: writing to a copy
/// changes nothing else.
///
///   model.identity(), task.identity()
///       texts that differ when what they stand for differs: content hashes, say
///   model.is_incremental(task)
///       whether the task has streams; one that looks from the end backwards has none
///   model.start(task, items)
///       the stream after these items, perhaps none
///   model.advance(task, stream, item)
///       one more item: the work of one time step
///   model.scores(task, stream)
///       f32 [1,targets] after the stream's items, the caller's to change; the stream stays as it
///       is
///   model.scores(task, items)
///       the same by a full pass
///   model.visit(task, stream, visitor)
///       visitor(part) for each part of a stream, Tensors and std::int64_t, for saving (a const
///       stream) and for filling one that start() made (mutable); throws DataError for misfits
///
/// Model and Task are used from many threads at once and never change.
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

}  // namespace refrain
