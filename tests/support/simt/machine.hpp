#pragma once
/// The emulated GPU: runs the threads of a block as fibers on one core, in an order that the test
/// chooses, and rejects errors that would hang a real GPU or corrupt its results.

#include <array>
#include <cstddef>
#include <cstdint>
#include <source_location>
#include <stdexcept>
#include <string>

namespace refrain::simt {

/// A kernel broke a rule; the text names the rule, the block, the thread and the source line.
class EmulationError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

namespace emulation {

/// The order of threads between two points where they wait, and of the blocks.
enum class Order : std::uint8_t { forward, reverse, random };

struct Schedule {
  Order order = Order::forward;
  std::uint64_t seed = 1;  ///< for the random order
};

/// Sets the order of the launches that follow.
void set_schedule(const Schedule& schedule);

/// Launches since the start of the program.
std::int64_t launches();

// ---- the interface for cuda_names.hpp and emulation.hpp ----

/// A location in a source file.
#if defined(__clang__) && __clang_major__ < 16
struct Site {
  const char* file;
  unsigned at_line;
  unsigned at_column;
  static constexpr Site current(const char* file = __builtin_FILE(),
                                unsigned line = __builtin_LINE(),
                                unsigned column = __builtin_COLUMN()) {
    return {file, line, column};
  }
  constexpr const char* file_name() const { return file; }
  constexpr unsigned line() const { return at_line; }
  constexpr unsigned column() const { return at_column; }
};
#else
using Site = std::source_location;
#endif

struct Extent {
  unsigned x, y, z;
};

/// The values that the lanes of a warp provide: 64 bytes each.
using Deposits = std::array<std::array<std::byte, 64>, 32>;

enum class Vote : std::uint8_t { count, all, any };

/// Runs body(argument) for every thread of every block. Throws EmulationError, or the kernel's
/// exception.
void run(const char* name, Extent grid, Extent block, std::size_t shared_bytes, void (*body)(void*),
         void* argument);

/// __syncthreads and its voting forms.
int block_barrier(Vote vote, int predicate, const Site& site);

/// Waits until all lanes of the mask have called with the same operation, and returns their values.
/// `orders_memory`: true for __syncwarp, false for shuffles.
const Deposits& exchange(const char* operation, unsigned mask, const void* value, std::size_t bytes,
                         bool orders_memory, const Site& site);

/// Index of the running thread in its warp.
unsigned current_lane();

/// Ends the launch with an error at this thread and location.
[[noreturn]] void fail(const std::string& what, const Site& site);

/// The block's shared memory for (key, offset), created by the first thread that requests it and
/// filled with NaN. `bytes` of dynamic shared memory (null key) must be within the size of the
/// launch.
void* shared_array(const void* key, std::size_t offset, std::size_t bytes, const Site& site);

/// cp.async. A null `from` writes zeros.
void copy_async(void* to, const void* from, int bytes, const Site& site);
void commit_copies();
void wait_copies(int left);

}  // namespace emulation
}  // namespace refrain::simt
