#include "refrain/train/progress.hpp"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <utility>

#include "refrain/core/error.hpp"

namespace refrain {
namespace {

constexpr std::size_t bar_cells = 24;

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

bool is_terminal(const std::ostream* out) {
  return out == &std::cerr && ::isatty(STDERR_FILENO) == 1;
}

/// A rate in three significant digits.
std::string brief(double value) {
  char text[32];
  std::snprintf(text, sizeof text, value < 10 ? "%.2f" : value < 100 ? "%.1f" : "%.0f", value);
  return text;
}

}  // namespace

std::string clock_time(double seconds) {
  if (!(seconds >= 0 && seconds < 1e9)) return "?";
  const std::int64_t whole = std::llround(seconds);
  char text[32];
  if (whole >= 3600) {
    std::snprintf(text, sizeof text, "%lld:%02lld:%02lld", static_cast<long long>(whole / 3600),
                  static_cast<long long>(whole / 60 % 60), static_cast<long long>(whole % 60));
  } else {
    std::snprintf(text, sizeof text, "%lld:%02lld", static_cast<long long>(whole / 60),
                  static_cast<long long>(whole % 60));
  }
  return text;
}

Progress::Style Progress::automatic_style(const std::ostream* out) {
  return is_terminal(out == nullptr ? &std::cerr : out) ? Style::bar : Style::lines;
}

Progress::Progress(Options options) : options_(std::move(options)) {
  if (options_.out == nullptr) options_.out = &std::cerr;
  if (!options_.seconds) options_.seconds = steady_seconds;
  if (options_.style == Style::automatic) options_.style = automatic_style(options_.out);
  started_ = drawn_ = options_.seconds();
}

Progress::~Progress() {
  if (open_ && width_ > 0) *options_.out << '\n' << std::flush;
}

double Progress::elapsed_seconds() const { return options_.seconds() - started_; }

void Progress::advance(std::int64_t count) {
  done_ += count;
  if (options_.style == Style::quiet || !open_) return;
  const double now = options_.seconds();
  const double interval =
      options_.style == Style::bar ? options_.bar_interval_seconds : options_.line_interval_seconds;
  if (now - drawn_ >= interval) draw(now);
}

void Progress::finish() {
  if (!std::exchange(open_, false) || options_.style == Style::quiet) return;
  if (options_.style == Style::lines && drawn_done_ == done_ && drawn_note_ == note_)
    return;  // the last line has reported it
  draw(options_.seconds());
  if (options_.style == Style::bar) *options_.out << '\n' << std::flush;
}

void Progress::draw(double now) {
  drawn_ = now;
  drawn_done_ = done_;
  drawn_note_ = note_;
  const double elapsed = now - started_;
  const double rate = elapsed > 0 ? static_cast<double>(done_) / elapsed : 0;
  std::string line = options_.label;
  const auto part = [&line](const std::string& text) {
    line.append(line.empty() ? "" : "  ").append(text);
  };
  if (options_.total > 0) {
    const double share =
        std::clamp(static_cast<double>(done_) / static_cast<double>(options_.total), 0.0, 1.0);
    if (options_.style == Style::bar) {
      const std::size_t full = static_cast<std::size_t>(share * static_cast<double>(bar_cells));
      part(detail::concat("[", std::string(full, '#'), std::string(bar_cells - full, '.'), "]"));
    }
    part(detail::concat(done_, "/", options_.total, " ", options_.unit, " ",
                        static_cast<int>(share * 100), "%"));
  } else {
    std::string unit = options_.unit;
    if (done_ == 1 && unit.ends_with('s')) unit.pop_back();
    part(detail::concat(done_, " ", unit));
  }
  part(brief(rate) + "/s");
  if (options_.total > done_ && rate > 0) {
    part(clock_time(static_cast<double>(options_.total - done_) / rate) + " left");
  } else {
    part(clock_time(elapsed));
  }
  if (!note_.empty()) part(note_);
  if (options_.style == Style::bar) {
    const std::size_t width = line.size();
    if (width < width_) line.append(width_ - width, ' ');  // overwrite the rest of a longer line
    width_ = std::max<std::size_t>(width, 1);
    *options_.out << '\r' << line << std::flush;
  } else {
    *options_.out << line << '\n' << std::flush;
  }
}

}  // namespace refrain
