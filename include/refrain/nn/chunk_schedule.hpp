#pragma once

#include <algorithm>
#include <cstdint>
#include <iosfwd>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "refrain/core/error.hpp"

namespace refrain {

/// The chunk steps of a sequence: those of its T time steps, counted from 1, at which a chunked
/// memory is written and read.
///
/// A closed schedule has its last chunk step at T, so that a prediction at T reads an up-to-date
/// memory. An open schedule belongs to a stream that continues; the time steps after its last chunk
/// step stay in the chunk area. All functions throw OptionError for arguments out of range. Source:
/// CmnRec, section 3.4.
class ChunkSchedule {
 public:
  /// Upper limit of T: a schedule stores its chunk steps as a list.
  static constexpr std::int64_t max_steps = std::int64_t{1} << 24;

  /// Periodic: m chunks, the last m - 1 of them of G = floor(T / m) time steps; chunk steps T -
  /// (m-1) G, ..., T - G, T. Source: CmnRec, equation 13.
  static ChunkSchedule pec(std::int64_t steps, std::int64_t chunks) {
    check("pec", steps, chunks);
    const std::int64_t gap = steps / chunks;
    return from_end("PEC", steps, chunks, [gap](std::int64_t r) { return r * gap; });
  }

  /// Time-sensitive: chunks get shorter towards the end. With g = floor(2 T / (m (m+1))) the r-th
  /// last chunk has r g time steps, and the first chunk the remaining ones; chunk steps T - g m
  /// (m-1) / 2, ..., T - 3 g, T - g, T. Equal to pec() where T is too short (g = 0). Source:
  /// CmnRec, equation 16, whose printed form has a misprint.
  static ChunkSchedule tsc(std::int64_t steps, std::int64_t chunks) {
    check("tsc", steps, chunks);
    const std::int64_t gap = chunks > 2 * steps ? 0 : 2 * steps / (chunks * (chunks + 1));
    if (gap == 0) {
      ChunkSchedule same = pec(steps, chunks);
      same.kind_ = "TSC (as PEC)";
      return same;
    }
    return from_end("TSC", steps, chunks,
                    [gap](std::int64_t r) { return gap * (r * (r + 1) / 2); });
  }

  /// Extreme: the last m time steps, the control case of the paper.
  static ChunkSchedule exc(std::int64_t steps, std::int64_t chunks) {
    check("exc", steps, chunks);
    return from_end("EXC", steps, chunks, [](std::int64_t r) { return r; });
  }

  /// Every time step is a chunk step: the plain memory network (SRMN).
  static ChunkSchedule every_step(std::int64_t steps) {
    check("every_step", steps, steps);
    return from_end("every step", steps, steps, [](std::int64_t r) { return r; });
  }

  /// Schedule of a stream: chunk steps G, 2 G, ... counted from the start of the stream, for the
  /// `steps` time steps after the first `before` ones; open unless the last time step is a chunk
  /// step.
  static ChunkSchedule every(std::int64_t gap, std::int64_t steps, std::int64_t before = 0) {
    constexpr std::int64_t max_gap = std::int64_t{1} << 62;
    if (gap < 1 || gap > max_gap || steps < 0 || steps > max_steps || before < 0) {
      throw OptionError(
          detail::concat("ChunkSchedule::every: expected a gap from 1 to 2^62, steps from 0 to ",
                         max_steps, " and before >= 0, got ", gap, ", ", steps, " and ", before));
    }
    std::vector<std::int64_t> at;
    for (std::int64_t step = gap - before % gap; step <= steps; step += gap) at.push_back(step);
    return {detail::concat("every ", gap), steps, std::move(at)};
  }

  /// The given chunk steps of T = `steps` time steps: ascending, at least 1, the last one T.
  static ChunkSchedule of(std::vector<std::int64_t> chunk_steps, std::int64_t steps) {
    std::int64_t before = 0;
    for (const std::int64_t step : chunk_steps) {
      if (step <= before || step > steps) {
        throw OptionError(detail::concat("ChunkSchedule: expected ascending chunk steps from 1 to ",
                                         steps, ", got ", step, " after ", before));
      }
      before = step;
    }
    if (before != steps || chunk_steps.empty()) {
      throw OptionError(
          detail::concat("ChunkSchedule: expected the last chunk step at the last time step, ",
                         steps, ", got ", before));
    }
    return {"list", steps, std::move(chunk_steps)};
  }

  /// The schedule with a chunk step at T, which is added if it is missing.
  ChunkSchedule closed() const {
    ChunkSchedule copy = *this;
    if (!is_closed() && steps_ > 0) copy.chunk_steps_.push_back(steps_);
    return copy;
  }
  /// The schedule of the time steps after the first `begin` and up to `end`, 0 <= begin <= end <=
  /// T.
  ChunkSchedule part(std::int64_t begin, std::int64_t end) const {
    if (begin < 0 || begin > end || end > steps_) {
      throw OptionError(detail::concat("ChunkSchedule::part: expected 0 <= begin <= end <= ",
                                       steps_, ", got ", begin, " and ", end));
    }
    std::vector<std::int64_t> at;
    for (const std::int64_t step : chunk_steps_) {
      if (step > begin && step <= end) at.push_back(step - begin);
    }
    return {kind_, end - begin, std::move(at)};
  }
  /// True when T is a chunk step.
  bool is_closed() const noexcept {
    return steps_ == 0 || (!chunk_steps_.empty() && chunk_steps_.back() == steps_);
  }

  /// T, the number of time steps.
  std::int64_t steps() const noexcept { return steps_; }
  /// The chunk steps, ascending, counted from 1.
  std::span<const std::int64_t> chunk_steps() const noexcept { return chunk_steps_; }
  /// Number of chunk steps.
  std::int64_t chunks() const noexcept { return static_cast<std::int64_t>(chunk_steps_.size()); }

  /// A description: "TSC, 4 chunks of 20 steps: 8 14 18 20"; long lists are shortened in the
  /// middle.
  std::string text() const {
    std::string text = detail::concat(kind_, ", ", chunks(), chunks() == 1 ? " chunk" : " chunks",
                                      " of ", steps_, " steps:");
    constexpr std::int64_t shown = 12;
    for (std::int64_t k = 0; k < chunks(); ++k) {
      if (chunks() > shown && k == shown - 2) {
        text += " ...";
        k = chunks() - 1;
      }
      text += detail::concat(" ", chunk_steps_[static_cast<std::size_t>(k)]);
    }
    return text;
  }

  template <class Traits>
  friend std::basic_ostream<char, Traits>& operator<<(std::basic_ostream<char, Traits>& out,
                                                      const ChunkSchedule& schedule) {
    return out << schedule.text();
  }
  friend bool operator==(const ChunkSchedule& a, const ChunkSchedule& b) {
    return a.steps_ == b.steps_ && a.chunk_steps_ == b.chunk_steps_;
  }

 private:
  ChunkSchedule(std::string kind, std::int64_t steps, std::vector<std::int64_t> chunk_steps)
      : kind_(std::move(kind)), steps_(steps), chunk_steps_(std::move(chunk_steps)) {}

  static void check(const char* name, std::int64_t steps, std::int64_t chunks) {
    if (steps > max_steps) {
      throw OptionError(detail::concat("ChunkSchedule::", name, ": expected at most ", max_steps,
                                       " steps, got ", steps));
    }
    if (chunks < 1 || chunks > steps) {
      throw OptionError(detail::concat("ChunkSchedule::", name, ": expected 1 to ", steps,
                                       " chunks of ", steps, " steps, got ", chunks));
    }
  }

  /// Chunk steps T - back(m-1), ..., T - back(0).
  template <class Back>
  static ChunkSchedule from_end(const char* kind, std::int64_t steps, std::int64_t chunks,
                                Back back) {
    std::vector<std::int64_t> at;
    for (std::int64_t r = chunks - 1; r >= 0; --r) at.push_back(steps - back(r));
    return {kind, steps, std::move(at)};
  }

  std::string kind_;
  std::int64_t steps_ = 0;
  std::vector<std::int64_t> chunk_steps_;
};

}  // namespace refrain
