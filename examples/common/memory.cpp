#include "common/memory.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <optional>
#include <string>

namespace refrain::examples {
namespace {

/// The first number of a file; none if the file has none, such as "max".
std::optional<std::int64_t> number_in(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::int64_t number = 0;
  if (file >> number) return number;
  return std::nullopt;
}

/// The number after a name in a file of lines "name number".
std::int64_t number_after(const std::string& wanted, const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string name;
  std::int64_t number = 0;
  while (file >> name >> number) {
    if (name == wanted) return number;
    file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return 0;
}

/// What a control group leaves: the pages of files are no use of it, because the kernel drops them
/// when memory is short.
std::optional<std::int64_t> left_in_group(const std::filesystem::path& group) {
  const std::optional<std::int64_t> most = number_in(group / "memory.max");
  if (!most) return std::nullopt;
  const std::filesystem::path statistics = group / "memory.stat";
  return *most - number_in(group / "memory.current").value_or(0) +
         number_after("active_file", statistics) + number_after("inactive_file", statistics);
}

/// The control group (version 2) of this process, below /; empty without one.
std::filesystem::path control_group() {
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("0::/")) return line.substr(4);
  }
  return {};
}

/// The bytes of this process's address space.
std::int64_t address_space() {
  return number_in("/proc/self/statm").value_or(0) * sysconf(_SC_PAGESIZE);
}

}  // namespace

std::int64_t available_memory() {
  std::int64_t least = std::numeric_limits<std::int64_t>::max();
  if (const std::int64_t free = number_after("MemAvailable:", "/proc/meminfo"); free > 0)
    least = free * 1024;
  for (std::filesystem::path group = control_group(); !group.empty(); group = group.parent_path()) {
    if (const auto left = left_in_group("/sys/fs/cgroup" / group)) least = std::min(least, *left);
  }
  rlimit limit{};
  if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
    least = std::min(least, static_cast<std::int64_t>(limit.rlim_cur) - address_space());
  return std::max<std::int64_t>(least, 0);
}

}  // namespace refrain::examples
