#pragma once

#include <initializer_list>
#include <optional>
#include <span>
#include <string>

#include "refrain/train/metric_log.hpp"

namespace refrain::examples {

/// The file of --log. A line that cannot be written does not end the run: the first failure prints
/// a warning to standard error, and later failures are silent.
class RunLog {
 public:
  /// An empty path means no log. Throws DataError when the file cannot be opened.
  explicit RunLog(const std::string& path);

  void write(std::span<const MetricLog::Number> numbers,
             std::span<const MetricLog::Text> texts = {});
  void write(std::initializer_list<MetricLog::Number> numbers,
             std::initializer_list<MetricLog::Text> texts = {}) {
    write(std::span<const MetricLog::Number>(numbers.begin(), numbers.size()),
          std::span<const MetricLog::Text>(texts.begin(), texts.size()));
  }

 private:
  std::optional<MetricLog> log_;
  bool has_failed_ = false;
};

}  // namespace refrain::examples
