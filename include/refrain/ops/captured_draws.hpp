#pragma once
/// Random numbers of work that is recorded once and run again.

#include <cstdint>
#include <utility>
#include <vector>

#include "refrain/core/export.hpp"
#include "refrain/core/random.hpp"
#include "refrain/core/stream.hpp"
#include "refrain/core/tensor.hpp"

namespace refrain {

/// Gives each run of recorded work the random numbers that it would have drawn unrecorded.
///
/// The position of a stream is part of a recorded call. While recording, every stream that is drawn
/// from gets a number in device memory, which the kernels add to that position; advance() sets it
/// before a run to how far the stream has moved since, and moves the stream on by what one run
/// draws. The streams must live as long as this.
class REFRAIN_API CapturedDraws {
 public:
  /// While one lives, draws of this thread are recorded. At its end the streams stand where they
  /// stood at its start.
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

  /// Before each run: the shifts to where the streams stand, and the streams behind what the run
  /// draws.
  void advance() {
    for (Stream& stream : streams_) {
      const std::uint64_t position = stream.random->state().position;
      Tensor shift({1}, DType::i64);
      *shift.data<std::int64_t>() = static_cast<std::int64_t>(position - stream.start);
      stream.shift.copy_from(shift);
      move_to(*stream.random, position + stream.per_run);
    }
  }

  /// What a kernel adds to the stream's position, [1] i64 on the device; undefined when nothing is
  /// recorded.
  static Tensor shift_of(Random& random, Device device) {
    if (current_ == nullptr) return {};
    for (const Stream& stream : current_->streams_) {
      if (stream.random == &random) return stream.shift;
    }
    // Not set while work is recorded: that would be recorded, too, and undo advance() in each run.
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
    std::uint64_t start;    ///< position in the recording
    std::uint64_t per_run;  ///< blocks that a run draws
    Tensor shift;
  };

  static void move_to(Random& random, std::uint64_t position) {
    random = Random(RandomState{random.state().seed, random.state().stream, position});
  }

  static inline thread_local CapturedDraws* current_ = nullptr;
  std::vector<Stream> streams_;
};

}  // namespace refrain
