#include "serve/latency.hpp"

#include <fmt/core.h>

#include <algorithm>

namespace refrain::serve {

std::string Latency::text(const char* what) const {
  if (microseconds_.empty()) return fmt::format("{}: none", what);
  std::vector<float> sorted = microseconds_;
  std::sort(sorted.begin(), sorted.end());
  // The smallest time that so large a share of the messages did not exceed.
  const auto share = [&](std::size_t percent) { return sorted[(sorted.size() * percent + 99) / 100 - 1]; };
  return fmt::format("{}: {}, p50 {:.1f} us, p99 {:.1f} us, largest {:.1f} us", what, sorted.size(), share(50), share(99),
                     sorted.back());
}

}  // namespace refrain::serve
