#pragma once
/// Random numbers in a captured graph.

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
/// is drawn from gets an offset in device memory, which the kernels add to that position. Before a
/// run, advance() sets the offset to the distance that the stream has moved since the capture, and
/// moves the stream by the draws of one run. The streams must outlive this object.
class REFRAIN_API CapturedDraws {
 public:
  /// Draws of this thread are part of a capture during its lifetime. The destructor restores the
  /// positions that the streams had at its start.
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

  /// Called before each run: sets the offsets to the current positions of the streams, and moves
  /// the streams by the draws of one run.
  void advance() {
    for (Stream& stream : streams_) {
      const std::uint64_t position = stream.random->state().position;
      Tensor shift({1}, DType::i64);
      *shift.data<std::int64_t>() = static_cast<std::int64_t>(position - stream.start);
      stream.shift.copy_from(shift);
      move_to(*stream.random, position + stream.per_run);
    }
  }

  /// The offset that a kernel adds to the stream's position, [1] i64 on the device; undefined when
  /// no capture is in progress.
  static Tensor shift_of(Random& random, Device device) {
    if (current_ == nullptr) return {};
    for (const Stream& stream : current_->streams_) {
      if (stream.random == &random) return stream.shift;
    }
    // A zero() during the capture would become part of the graph and undo advance() in each run.
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
    std::uint64_t per_run;  ///< blocks drawn by one run
    Tensor shift;
  };

  static void move_to(Random& random, std::uint64_t position) {
    random = Random(RandomState{random.state().seed, random.state().stream, position});
  }

  static inline thread_local CapturedDraws* current_ = nullptr;
  std::vector<Stream> streams_;
};

}  // namespace refrain::detail
