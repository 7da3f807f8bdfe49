#include "cmnrec/schedule.hpp"

#include <fmt/format.h>

#include <charconv>
#include <string_view>
#include <utility>

#include "refrain/core/error.hpp"

namespace refrain::cmnrec {
namespace {

std::optional<std::int64_t> whole_number(std::string_view text) {
  std::int64_t number = 0;
  const char* const end = text.data() + text.size();
  const bool is_number = std::from_chars(text.data(), end, number).ptr == end && number >= 0 &&
                         !text.empty() && text.size() < 10;
  return is_number ? std::optional(number) : std::nullopt;
}

}  // namespace

std::optional<Schedule> Schedule::parse(const std::string& text) {
  Schedule schedule{.written = text};
  for (const auto& [name, kind] : {std::pair("pec", Kind::pec),
                                   {"tsc", Kind::tsc},
                                   {"exc", Kind::exc},
                                   {"every", Kind::every}}) {
    schedule.kind = kind;
    if (text == name) return schedule;
  }
  constexpr std::string_view every = "every:";
  if (text.starts_with(every)) {
    const auto gap = whole_number(std::string_view(text).substr(every.size()));
    schedule.gap = gap.value_or(0);
    return schedule.gap > 0 ? std::optional(schedule) : std::nullopt;
  }
  schedule.kind = Kind::list;
  constexpr const char* separators = ", ";
  for (std::size_t begin = text.find_first_not_of(separators); begin != std::string::npos;) {
    const std::size_t end = std::min(text.find_first_of(separators, begin), text.size());
    const auto step = whole_number(std::string_view(text).substr(begin, end - begin));
    if (!step) return std::nullopt;
    schedule.steps.push_back(*step);
    begin = text.find_first_not_of(separators, end);
  }
  return schedule;
}

ChunkSchedule Schedule::of(std::int64_t slots, std::int64_t length) const {
  if (has_slots() && (slots < 1 || slots > length)) {
    throw OptionError(
        fmt::format("--slots: expected 1 to {0} with --length {0}, got {1}", length, slots));
  }
  switch (kind) {
    case Kind::pec:
      return ChunkSchedule::pec(length, slots);
    case Kind::tsc:
      return ChunkSchedule::tsc(length, slots);
    case Kind::exc:
      return ChunkSchedule::exc(length, slots);
    case Kind::every:
      return gap == 1 ? ChunkSchedule::every_step(length)
                      : ChunkSchedule::every(gap, length).closed();
    case Kind::list:
      break;
  }
  try {
    return ChunkSchedule::of(steps, length);
  } catch (const OptionError& error) {
    throw OptionError(fmt::format("--schedule {}: {}", written, error.what()));
  }
}

}  // namespace refrain::cmnrec
