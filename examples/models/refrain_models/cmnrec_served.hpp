#pragma once
/// CmnRec for a Recommender.

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "refrain/data/batches.hpp"
#include "refrain/data/vocabulary.hpp"
#include "refrain/serve/model.hpp"
#include "refrain/train/content_hash.hpp"
#include "refrain_models/cmnrec.hpp"

namespace refrain::models {

/// The time steps at which a served CmnRec reads and writes its memory: a task of CmnRecServed.
class ServedSchedule {
 public:
  /// Time steps G, 2 G, ... of the stream, and the newest one when scores are computed:
  /// ChunkSchedule::every(G, T).closed(). Incremental; G = 1 is SRMN. Throws OptionError for a gap
  /// below 1.
  static ServedSchedule every(std::int64_t gap) {
    if (gap < 1)
      throw OptionError(detail::concat("ServedSchedule::every: expected a gap >= 1, got ", gap));
    return {detail::concat("every ", gap), gap, nullptr};
  }
  /// A schedule of the newest T items, padded on the left, which counts from the end: PEC or TSC.
  /// Every request is a full pass.
  static ServedSchedule newest(ChunkSchedule schedule) {
    std::string text = schedule.text();
    return {std::move(text), 0, std::make_shared<const ChunkSchedule>(std::move(schedule))};
  }

  const std::string& identity() const noexcept { return identity_; }
  /// G; 0 for newest().
  std::int64_t gap() const noexcept { return gap_; }
  /// Null for every().
  const ChunkSchedule* of_newest() const noexcept { return newest_.get(); }

 private:
  ServedSchedule(std::string identity, std::int64_t gap,
                 std::shared_ptr<const ChunkSchedule> newest)
      : identity_(std::move(identity)), gap_(gap), newest_(std::move(newest)) {}

  std::string identity_;
  std::int64_t gap_;
  std::shared_ptr<const ChunkSchedule> newest_;
};

/// Serves a CmnRec network under one or more schedules.
///
/// A stream holds the network's state before the newest item, and that item. Scores treat the
/// newest time step as a chunk step, as training with every(G, T).closed() does, and do not change
/// the stream. On the CPU, f32 or f64.
template <class Controller>
class CmnRecServed {
 public:
  using Network = CmnRec<Controller>;
  using Task = ServedSchedule;

  struct Options {
    /// Length of the padding before every stream, as in training batches; 0: no padding.
    std::int64_t padding_steps = 0;
  };

  struct Stream {
    typename Network::State state;  ///< after all time steps but the newest
    std::int64_t steps = 0;         ///< number of time steps in `state`
    std::int64_t newest = none;     ///< id of the newest item
  };

  /// Sets the network to evaluation mode. The network must not be changed afterwards. Throws
  /// OptionError for a negative padding_steps.
  CmnRecServed(std::shared_ptr<Network> network, Options options)
      : network_(std::move(network)),
        options_(options),
        identity_(detail::concat("cmnrec ", content_hash(*network_), ", padding ",
                                 options.padding_steps)) {
    if (options.padding_steps < 0) {
      throw OptionError(
          detail::concat("CmnRecServed: expected padding_steps >= 0, got ", options.padding_steps));
    }
    network_->eval();
    const NoGrad off;
    weights_ = network_->pack();
  }
  explicit CmnRecServed(std::shared_ptr<Network> network)
      : CmnRecServed(std::move(network), Options{}) {}

  const std::string& identity() const noexcept { return identity_; }
  bool is_incremental(const Task& task) const noexcept { return task.gap() > 0; }

  Stream start(const Task& task, std::span<const std::int32_t> items) const {
    Stream stream{.state = network_->start()};
    const std::vector<std::int32_t> ids = padded(items);
    if (ids.empty()) return stream;
    const std::span<const std::int32_t> before = std::span(ids).first(ids.size() - 1);
    for (std::size_t at = 0; at < before.size(); at += max_steps_at_once) {
      const std::span<const std::int32_t> piece =
          before.subspan(at, std::min(max_steps_at_once, before.size() - at));
      const std::int64_t count = static_cast<std::int64_t>(piece.size());
      stream.state =
          network_->advance(row(piece), ChunkSchedule::every(task.gap(), count, stream.steps),
                            std::move(stream.state), weights_);
      stream.steps += count;
    }
    stream.newest = ids.back();
    return stream;
  }

  void advance(const Task& task, Stream& stream, std::int32_t item) const {
    if (stream.newest != none) {
      stream.state =
          network_->advance(row(stream.newest), ChunkSchedule::every(task.gap(), 1, stream.steps),
                            std::move(stream.state), weights_);
      ++stream.steps;
    }
    stream.newest = item;
  }

  /// Throws OptionError for a stream without time steps.
  Tensor scores(const Task&, const Stream& stream) const {
    if (stream.newest == none)
      throw OptionError(
          "CmnRecServed: expected a stream of at least one time step, got an empty one");
    return network_->scores_after(row(stream.newest), ChunkSchedule::every_step(1), stream.state,
                                  weights_);
  }

  Tensor scores(const Task& task, std::span<const std::int32_t> items) const {
    if (task.of_newest() != nullptr) {
      RaggedIds rows;
      rows.push_back(items);
      const std::int64_t first = 0;
      return network_->scores(padded_batch(rows, {&first, 1}, task.of_newest()->steps()),
                              *task.of_newest(), weights_);
    }
    const std::vector<std::int32_t> ids = padded(items);
    const std::int64_t steps = static_cast<std::int64_t>(ids.size());
    return network_->scores(row(ids), ChunkSchedule::every(task.gap(), steps).closed(), weights_);
  }

  template <class AnyStream, class Visitor>
  void visit(const Task& task, AnyStream& stream, Visitor&& visitor) const {
    constexpr bool reading = !std::is_const_v<AnyStream>;
    // Copies of a stream share tensors, so each part is read into a new tensor.
    const auto part = [&](auto& variable) {
      if constexpr (reading) variable = Variable(variable.value().clone());
      visitor(variable.value());
    };
    visitor(stream.steps);
    visitor(stream.newest);
    for (auto& h : stream.state.controller.h) part(h);
    for (auto& c : stream.state.controller.c) part(c);
    stream.state.memory.visit([&](const char*, auto& tensor) { part(tensor); });
    std::int64_t chunk = stream.state.chunk.defined() ? stream.state.chunk.size(0) : 0;
    visitor(chunk);
    if constexpr (reading) {
      const bool fits = stream.steps >= 0 && stream.newest >= none &&
                        stream.newest < network_->options().items && chunk >= 0 &&
                        chunk <= task.gap() && (stream.steps == 0 || stream.newest != none);
      if (!fits)
        throw DataError("CmnRecServed", 0,
                        detail::concat("expected a stream under the schedule ", task.identity()));
      stream.state.chunk = chunk > 0 ? Variable(Tensor({chunk, 1, network_->options().hidden},
                                                       stream.state.controller.h[0].dtype()))
                                     : Variable();
      if (chunk > 0) visitor(stream.state.chunk.value());
    } else if (chunk > 0) {
      visitor(stream.state.chunk.value());
    }
  }

 private:
  static constexpr std::int64_t none = -1;

  /// Time steps of a history whose activations are in memory together.
  static constexpr std::size_t max_steps_at_once = 256;

  static Tensor row(std::span<const std::int32_t> ids) {
    return Tensor::from<std::int32_t>({1, static_cast<std::int64_t>(ids.size())}, ids);
  }
  static Tensor row(std::int64_t id) {
    return Tensor::from<std::int32_t>({1, 1}, {static_cast<std::int32_t>(id)});
  }

  std::vector<std::int32_t> padded(std::span<const std::int32_t> items) const {
    std::vector<std::int32_t> ids(static_cast<std::size_t>(options_.padding_steps), padding_id);
    ids.insert(ids.end(), items.begin(), items.end());
    return ids;
  }

  std::shared_ptr<Network> network_;
  Options options_;
  std::string identity_;
  typename Network::Weights weights_{};
};

}  // namespace refrain::models
