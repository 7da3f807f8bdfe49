#pragma once
/// Random numbers of a graph that is captured once and run again.

#include <cstdint>
#include <utility>
#include <vector>

#include "refrain/core/export.hpp"
#include "refrain/core/random.hpp"
#include "refrain/core/stream.hpp"
#include "refrain/core/tensor.hpp"

namespace refrain::detail {

/// Gives each run of a captured graph the random numbers that the same work draws uncaptured.
///
/// A captured call contains the position of its random stream. During the capture every stream that
/// is drawn from gets a number in device memory, which the kernels add to that position. Before a
/// run advance() sets this number to the distance that the stream has moved since the capture, and
/// moves the stream by what one run draws. The streams must outlive this object.
class REFRAIN_API CapturedDraws {
 public:
  /// While one lives, draws of this thread are part of a capture. Its end moves the streams back to
  /// where they stood at its start.
  class Scope {
   public:
    explicit Scope(CapturedDraws& draws) noexcept : before_(std::exchange(current_, &draws)) {}
    ~Scope() {
      for (Stream& stream : current_->streams_) {
        stream.per_run = stream.random->state().position - stream.start;
        move_to(*stream.random, stream.start);
      }
      current_ = before_;
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    CapturedDraws* before_;
  };

  /// Called before each run: sets the shifts to where the streams stand, and moves the streams by
  /// what the run draws.
  void advance() {
    for (Stream& stream : streams_) {
      const std::uint64_t position = stream.random->state().position;
      Tensor shift({1}, DType::i64);
      *shift.data<std::int64_t>() = static_cast<std::int64_t>(position - stream.start);
      stream.shift.copy_from(shift);
      move_to(*stream.random, position + stream.per_run);
    }
  }

  /// The number that a kernel adds to the stream's position, [1] i64 on the device; undefined when
  /// no capture is in progress.
  static Tensor shift_of(Random& random, Device device) {
    if (current_ == nullptr) return {};
    for (const Stream& stream : current_->streams_) {
      if (stream.random == &random) return stream.shift;
    }
    // A capture would contain this zero(), which would then undo advance() in each run.
    Tensor shift({1}, DType::i64, device);
    if (!is_capturing()) shift.zero();
    current_->streams_.push_back({.random = &random,
                                  .start = random.state().position,
                                  .per_run = 0,
                                  .shift = std::move(shift)});
    return current_->streams_.back().shift;
  }

 private:
  struct Stream {
    Random* random;
    std::uint64_t start;    ///< position at the capture
    std::uint64_t per_run;  ///< blocks that one run draws
    Tensor shift;
  };

  static void move_to(Random& random, std::uint64_t position) {
    random = Random(RandomState{random.state().seed, random.state().stream, position});
  }

  static inline thread_local CapturedDraws* current_ = nullptr;
  std::vector<Stream> streams_;
};

}  // namespace refrain::detail
