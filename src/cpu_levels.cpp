/// The instruction set level of the CPU kernels that this process uses.

#include "kernels/cpu_levels.hpp"

#include <cstdlib>
#include <string>
#include <vector>

#include "refrain/core/error.hpp"
#include "refrain/core/isa.hpp"

#define REFRAIN_QUOTE(name) #name
#define REFRAIN_NAME_OF(macro) REFRAIN_QUOTE(macro)

namespace refrain {
namespace {

struct Level {
  const char* name;
  const kernels::Table* table;
  bool runs;  ///< true when this CPU supports the level
};

/// The levels of this build in ascending order. The features of a level are those that
/// cmake/isa.cmake compiles for. The compiler's support library reports a feature only if the
/// operating system saves its registers.
std::vector<Level> levels() {
  std::vector<Level> all{{REFRAIN_NAME_OF(REFRAIN_ISA), &kernels::cpu::REFRAIN_ISA::table, true}};
#if defined(REFRAIN_HAS_V3) || defined(REFRAIN_HAS_V4)
  __builtin_cpu_init();
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                  __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
#endif
#if defined(REFRAIN_HAS_V3)
  all.push_back({"v3", &kernels::cpu::v3::table, v3});
#endif
#if defined(REFRAIN_HAS_V4)
  all.push_back({"v4", &kernels::cpu::v4::table,
                 v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                     __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                     __builtin_cpu_supports("avx512vl")});
#endif
  return all;
}

Level choose() {
  const std::vector<Level> all = levels();
  const char* const setting = std::getenv("REFRAIN_ISA");
  const std::string wanted = setting == nullptr ? "" : setting;
  std::string names;
  Level best = all.front();
  bool built = false;
  for (const Level& level : all) {
    if (level.runs && level.name == wanted) return level;
    built = built || level.name == wanted;
    if (!level.runs) continue;
    names += names.empty() ? level.name : std::string(", ") + level.name;
    best = level;
  }
  if (wanted.empty()) return best;
  if (built)
    throw Unsupported("REFRAIN_ISA=" + wanted + ": this CPU cannot run it; expected one of " +
                      names);
  throw OptionError("REFRAIN_ISA=" + wanted + ": not a level of this build; expected one of " +
                    names);
}

const Level& chosen() {
  static const Level level = choose();
  return level;
}

}  // namespace

const char* cpu_isa() { return chosen().name; }

namespace kernels::cpu {

const Table& best_table() { return *chosen().table; }

}  // namespace kernels::cpu
}  // namespace refrain
