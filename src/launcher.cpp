#include "refrain/distributed/launcher.hpp"

#include <charconv>
#include <cstdlib>
#include <string_view>

namespace refrain {
namespace {

/// The variable as NAME=VALUE when its value is a number of at least `least`; otherwise empty.
std::string at_least(const char* name, int least) {
  const char* value = std::getenv(name);
  if (value == nullptr) return {};
  const std::string_view text(value);
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < least) return {};
  return std::string(name) + "=" + value;
}

}  // namespace

std::string launched_as_one_of_several() {
  // Open MPI; MPICH, Intel MPI and others with the process manager interface PMI; PMIx, which gives
  // only the rank.
  for (const char* size : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"}) {
    if (std::string text = at_least(size, 2); !text.empty()) return text;
  }
  if (std::string text = at_least("PMIX_RANK", 1); !text.empty()) return text;
  // srun sets the size of its step. SLURM_NTASKS would also be set in a batch script, which runs
  // once.
  if (!at_least("SLURM_PROCID", 0).empty()) return at_least("SLURM_STEP_NUM_TASKS", 2);
  return {};
}

}  // namespace refrain
