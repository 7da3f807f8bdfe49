#include "refrain/train/metric_log.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>

#include "refrain/core/error.hpp"

namespace refrain {
namespace {

using Json = nlohmann::json;

bool is_whole(double value) {
  return std::abs(value) < 0x1p53 && value == std::floor(value) &&
         !(value == 0 && std::signbit(value));
}

bool ends_inside_line(int descriptor) {
  struct stat status = {};
  char last = '\n';
  return ::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0 &&
         ::pread(descriptor, &last, 1, status.st_size - 1) == 1 && last != '\n';
}

}  // namespace

MetricLog::MetricLog(std::string path) : path_(std::move(path)) {
  descriptor_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (descriptor_ < 0)
    throw DataError(path_, 0,
                    detail::concat("cannot be opened for appending: ", std::strerror(errno)));
}

MetricLog::~MetricLog() { ::close(descriptor_); }

void MetricLog::write(std::span<const Number> numbers, std::span<const Text> texts) {
  std::string line = ends_inside_line(descriptor_) ? "\n{" : "{";
  const auto add = [&line](std::string_view name, const Json& value) {
    const auto text = [](const Json& json) {
      return json.dump(-1, ' ', false, Json::error_handler_t::replace);
    };
    if (line.back() != '{') line.push_back(',');
    line.append(text(Json(std::string(name)))).append(1, ':').append(text(value));
  };
  for (const auto& [name, value] : numbers)
    add(name, is_whole(value) ? Json(static_cast<std::int64_t>(value)) : Json(value));
  for (const auto& [name, text] : texts) add(name, Json(std::string(text)));
  line += "}\n";
  std::string_view left = line;
  while (!left.empty()) {
    const ssize_t put = ::write(descriptor_, left.data(), left.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0)
      throw DataError(path_, 0, detail::concat("cannot be appended to: ", std::strerror(errno)));
    left.remove_prefix(static_cast<std::size_t>(put));
  }
}

}  // namespace refrain
