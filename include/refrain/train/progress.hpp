#pragma once
/// Progress display.

#include <cstdint>
#include <functional>
#include <iosfwd>
#include <string>

#include "refrain/core/export.hpp"

namespace refrain {

/// One line about work in progress: done, total, rate, time left, and a note.
///
/// On a terminal it is a bar that is redrawn; in a log file or a pipe it is a plain line every few
/// seconds. The interval limits the output, so advance() may be called for every step.
class REFRAIN_API Progress {
 public:
  enum class Style : std::uint8_t { automatic, bar, lines, quiet };
  /// Options of the display.
  struct Options {
    std::string label = "";      ///< "epoch 3"
    std::int64_t total = 0;      ///< 0: unknown, neither share nor time left are shown
    std::string unit = "steps";  ///< plural of what advance() counts
    /// automatic: bar when `out` is std::cerr and a terminal, otherwise lines
    Style style = Style::automatic;
    double bar_interval_seconds = 0.1;
    double line_interval_seconds = 5;
    std::ostream* out = nullptr;           ///< null: std::cerr
    std::function<double()> seconds = {};  ///< the clock; empty: a steady one
  };

  explicit Progress(Options options);

  /// The style that Style::automatic selects for a stream (null: std::cerr).
  static Style automatic_style(const std::ostream* out);

  /// Ends the line of a bar.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Counts finished work and redraws when the interval has passed.
  void advance(std::int64_t count = 1);

  /// A note after the figures, shown from the next drawing on: "loss 6.123".
  void set_note(std::string note) { note_ = std::move(note); }

  /// Writes the last state regardless of the interval, unless a line has shown it; nothing is
  /// written afterwards.
  void finish();

  std::int64_t done() const noexcept { return done_; }
  double elapsed_seconds() const;

 private:
  void draw(double now);

  Options options_;
  double started_ = 0;
  double drawn_ = 0;
  std::int64_t done_ = 0;
  std::int64_t drawn_done_ = -1;  ///< contents of the last drawing, and its note
  std::string drawn_note_;
  std::size_t width_ = 0;  ///< width of the bar's line in the last drawing
  bool open_ = true;
  std::string note_;
};

/// A duration: 75 -> "1:15", 3675 -> "1:01:15"; negative or not finite -> "?".
REFRAIN_API std::string clock_time(double seconds);

}  // namespace refrain
