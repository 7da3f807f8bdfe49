#pragma once
/// --schedule: the time steps at which CmnRec accesses its memory.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "refrain/nn/chunk_schedule.hpp"

namespace refrain::cmnrec {

/// A schedule for sequences of any length.
///
///   pec, tsc, exc: m chunks; every: each time step; every:G: each G-th one and the last; 5,10,20:
///   these time steps
struct Schedule {
  enum class Kind : std::uint8_t { pec, tsc, exc, every, list };

  static constexpr const char* notation = "pec, tsc, exc, every, every:G or steps like 5,10,20";
  /// Returns nullopt for an invalid text.
  static std::optional<Schedule> parse(const std::string& text);
  const std::string& text() const { return written; }

  /// The schedule of m chunks and T time steps. Throws OptionError about --schedule or --slots.
  ChunkSchedule of(std::int64_t slots, std::int64_t steps) const;

  bool has_slots() const { return kind < Kind::every; }
  bool is_every_step() const { return kind == Kind::every && gap == 1; }

  Kind kind = Kind::tsc;
  std::int64_t gap = 1;               ///< G of every
  std::vector<std::int64_t> steps{};  ///< of list
  std::string written = "tsc";
};

}  // namespace refrain::cmnrec
