#pragma once
/// The state of the emulated GPU: the threads of one block, where they wait, and the parameters of
/// a launch. machine.hpp is its interface.

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "refrain/core/error.hpp"
#include "support/simt/cuda_names.hpp"
#include "support/simt/fiber.hpp"
#include "support/simt/machine.hpp"
#include "support/simt/sanitizers.hpp"

namespace refrain::simt::emulation {

constexpr unsigned lanes = 32;

/// Thrown into the threads of a failed block to unwind their stacks.
struct Abandoned {};

/// One cp.async in flight.
struct Copy {
  std::byte* to;
  int bytes;
  std::array<std::byte, 16> data;
};

/// The lanes of one mask in one warp operation. Results are double-buffered: a fast lane may be in
/// the next operation while a slow one still reads those of the last.
struct Meeting {
  unsigned mask = 0;
  unsigned arrived = 0;
  unsigned unread = 0;  ///< lanes that have not read the last result
  std::uint64_t round = 0;
  const char* operation = nullptr;
  std::array<OrderPoint, 2> order;
  std::array<Deposits, 2> deposits;
};

struct Warp {
  std::array<Meeting, 8> meetings;
};

/// A shared array; new memory for each block, so that no sanitizer confuses the blocks.
struct SharedPiece {
  const void* key;
  std::size_t offset;
  std::size_t bytes;
  void* memory;
};

void run_threads(void* thread);

enum class State : std::uint8_t { ready, at_barrier, at_warp_operation, done };

struct Thread {
  Thread(unsigned number) : linear(number), fiber(run_threads, this) {}

  unsigned linear;
  uint3 index{};
  State state = State::done;
  Site waits_at = Site::current();
  const char* waits_for = "";
  unsigned wait_mask = 0;
  std::vector<Copy> open_copies;
  std::vector<std::vector<Copy>> copy_groups;
  std::exception_ptr error;
  Fiber fiber;
};

class Machine {
 public:
  void run(const char* name, Extent grid, Extent block, std::size_t shared_bytes,
           void (*body)(void*), void* argument);
  void run_one(Thread& thread);

  int block_barrier(Vote vote, int predicate, const Site& site);
  const Deposits& exchange(const char* operation, unsigned mask, const void* value,
                           std::size_t bytes, bool orders_memory, const Site& site);
  void* shared_array(const void* key, std::size_t offset, std::size_t bytes, const Site& site);
  [[noreturn]] void fail(const std::string& what, const Site& site);

  Thread& running() { return *running_; }
  Schedule schedule{};
  std::int64_t launches = 0;

 private:
  class LaunchEnd {
   public:
    explicit LaunchEnd(Machine& machine) : machine_(machine) {}
    ~LaunchEnd();
    LaunchEnd(const LaunchEnd&) = delete;
    LaunchEnd& operator=(const LaunchEnd&) = delete;

   private:
    Machine& machine_;
  };

  void check_launch(Extent grid, Extent block, std::size_t shared_bytes) const;
  void run_block();
  void abandon_block();
  void check_finished();
  void drop_shared();

  unsigned take_ready();
  void make_ready(unsigned begin, unsigned end);
  void enter(Thread& thread);
  /// Runs other threads; returns when this thread is scheduled again.
  void wait(Thread& thread);
  Meeting& meeting_of(Warp& warp, unsigned mask, const Site& site);

  std::string name_;
  std::vector<std::unique_ptr<Thread>> threads_;
  unsigned count_ = 0;  ///< threads of a block
  std::vector<unsigned> ready_;
  std::vector<Warp> warps_;
  Fiber* main_ = nullptr;
  Thread* running_ = nullptr;
  unsigned live_ = 0;

  unsigned waiting_ = 0;
  std::uint64_t barrier_round_ = 0;
  Site barrier_site_ = Site::current();
  int vote_ = 0;
  int vote_result_ = 0;
  std::array<OrderPoint, 2> barrier_order_;
  OrderPoint launch_begin_;
  OrderPoint launch_end_;

  bool abandoning_ = false;
  std::string failure_;
  std::mt19937_64 random_;
  void (*body_)(void*) = nullptr;
  void* argument_ = nullptr;
  std::size_t shared_bytes_ = 0;
  std::vector<SharedPiece> shared_;
  std::vector<void*> used_memory_;
};

/// The only machine.
Machine& machine();

inline std::string where(const Site& site) {
  return refrain::detail::concat(site.file_name(), ":", site.line());
}

inline std::string hex(unsigned mask) {
  char text[16];
  std::snprintf(text, sizeof text, "0x%08x", mask);
  return text;
}

inline std::string who(const Thread& thread) {
  return refrain::detail::concat("block (", blockIdx.x, ",", blockIdx.y, ",", blockIdx.z,
                                 ") thread ", thread.linear);
}

}  // namespace refrain::simt::emulation
