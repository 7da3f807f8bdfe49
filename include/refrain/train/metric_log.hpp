#pragma once
/// Metrics of a run as a file of JSON lines.

#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "refrain/core/export.hpp"

namespace refrain {

/// Appends JSON objects, one per line: {"epoch":1,"loss":0.5,"split":"valid"}.
///
/// Each line is written as a whole when it is complete, so an interrupted run leaves whole lines.
/// If the file ends inside a line after a crash of the machine, writing starts with a new line.
class REFRAIN_API MetricLog {
 public:
  using Number = std::pair<std::string_view, double>;
  using Text = std::pair<std::string_view, std::string_view>;

  /// Opens the file for appending and creates it if necessary. Throws DataError when that fails.
  explicit MetricLog(std::string path);
  ~MetricLog();
  MetricLog(const MetricLog&) = delete;
  MetricLog& operator=(const MetricLog&) = delete;

  /// Writes numbers, then texts, in the given order. A number that is not finite is written as
  /// null, because JSON has no such numbers; an integer is written without a fraction. Throws
  /// DataError when the line cannot be written in full.
  void write(std::span<const Number> numbers, std::span<const Text> texts = {});
  void write(std::initializer_list<Number> numbers, std::initializer_list<Text> texts = {}) {
    write(std::span<const Number>(numbers.begin(), numbers.size()),
          std::span<const Text>(texts.begin(), texts.size()));
  }

 private:
  std::string path_;
  int descriptor_ = -1;
};

}  // namespace refrain
