#pragma once

#include <unistd.h>

#include <array>
#include <string>

namespace refrain {

/// The name of this host.
inline std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "unknown host";
  return name.data();
}

}  // namespace refrain
