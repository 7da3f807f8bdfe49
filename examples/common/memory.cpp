#include "common/memory.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <string>

namespace refrain::examples {
namespace {

/// The first number of a file; none if the file has none, such as "max".
std::optional<std::int64_t> number_in(const std::string& path) {
  std::ifstream file(path);
  std::int64_t number = 0;
  if (file >> number) return number;
  return std::nullopt;
}

/// The folder of this process's control group; empty without one.
std::string control_group() {
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("0::")) return "/sys/fs/cgroup" + line.substr(3);
  }
  return {};
}

std::optional<std::int64_t> available_in_machine() {
  std::ifstream file("/proc/meminfo");
  std::string name;
  std::int64_t kibibytes = 0;
  while (file >> name >> kibibytes) {
    if (name == "MemAvailable:") return kibibytes * 1024;
    file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return std::nullopt;
}

}  // namespace

std::int64_t available_memory() {
  std::int64_t least = available_in_machine().value_or(std::numeric_limits<std::int64_t>::max());
  const std::string group = control_group();
  if (const auto most = number_in(group + "/memory.max"))
    least = std::min(least, *most - number_in(group + "/memory.current").value_or(0));
  rlimit limit{};
  if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
    least = std::min(least, static_cast<std::int64_t>(limit.rlim_cur));
  return std::max<std::int64_t>(least, 0);
}

}  // namespace refrain::examples
