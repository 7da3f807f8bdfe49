#include "common/run_log.hpp"

#include <utility>

#include "common/standard_streams.hpp"
#include "refrain/core/error.hpp"

namespace refrain::examples {

RunLog::RunLog(const std::string& path) {
  if (!path.empty()) log_.emplace(path);
}

void RunLog::write(std::span<const MetricLog::Number> numbers,
                   std::span<const MetricLog::Text> texts) {
  if (!log_) return;
  try {
    log_->write(numbers, texts);
  } catch (const DataError& error) {
    if (!std::exchange(has_failed_, true))
      say("warning: --log: {}; the run continues with an incomplete log\n", error.what());
  }
}

}  // namespace refrain::examples
