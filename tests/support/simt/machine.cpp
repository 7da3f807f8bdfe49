#include "support/simt/machine.hpp"

#include <algorithm>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "support/simt/machine_state.hpp"

namespace refrain::simt::emulation {
namespace {

constexpr unsigned max_threads = 1024;
constexpr unsigned max_blocks_yz = 65535;
constexpr std::size_t largest_shared_bytes = 227 * 1024;  // compute capability 9.0; 8.0 has 163 KiB

}  // namespace

/// Never destroyed: its fibers never return.
Machine& machine() {
  static Machine& instance = *new Machine;
  return instance;
}

void run_threads(void* thread) {
  for (;;) machine().run_one(*static_cast<Thread*>(thread));
}

// ---- scheduling ----

unsigned Machine::take_ready() {
  const std::size_t at =
      schedule.order == Order::random ? random_() % ready_.size() : ready_.size() - 1;
  const unsigned thread = ready_[at];
  ready_[at] = ready_.back();
  ready_.pop_back();
  return thread;
}

/// Adds threads [begin, end) to the ready list; the thread added last runs first.
void Machine::make_ready(unsigned begin, unsigned end) {
  if (schedule.order == Order::reverse) {
    for (unsigned i = begin; i < end; ++i) ready_.push_back(i);
  } else {
    for (unsigned i = end; i-- > begin;) ready_.push_back(i);
  }
}

void Machine::enter(Thread& thread) {
  running_ = &thread;
  threadIdx = thread.index;
}

void Machine::wait(Thread& thread) {
  if (ready_.empty()) {
    thread.fiber.switch_to(*main_);
  } else {
    Thread& next = *threads_[take_ready()];
    if (&next != &thread) {
      enter(next);
      thread.fiber.switch_to(next.fiber);
    }
  }
  enter(thread);
}

/// Runs the kernel for one thread.
void Machine::run_one(Thread& thread) {
  end_overlook();
  launch_begin_.acquire();
  try {
    if (!abandoning_) body_(argument_);
  } catch (const Abandoned&) {
  } catch (...) {
    thread.error = std::current_exception();
  }
  launch_end_.release();
  begin_overlook();
  thread.state = State::done;
  --live_;
  wait(thread);
}

void Machine::fail(const std::string& what, const Site& site) {
  {
    const Overlook overlook;
    if (failure_.empty())
      failure_ =
          refrain::detail::concat(name_, ": ", what, ", ", who(*running_), " at ", where(site));
    abandoning_ = true;
    ready_.clear();
  }
  throw Abandoned();
}

// ---- shared memory ----

void* Machine::shared_array(const void* key, std::size_t offset, std::size_t bytes,
                            const Site& site) {
  const Overlook overlook;
  for (const SharedPiece& piece : shared_) {
    if (piece.key != key || piece.offset != offset) continue;
    if (piece.bytes != bytes) {
      fail(refrain::detail::concat("shared memory: an array of ", bytes,
                                   " bytes where another thread has one of ", piece.bytes),
           site);
    }
    return piece.memory;
  }
  if (key == nullptr && offset + bytes > shared_bytes_) {
    fail(refrain::detail::concat("dynamic shared memory: ", offset + bytes,
                                 " bytes used, launched with ", shared_bytes_),
         site);
  }
  // A separate allocation of the requested size: AddressSanitizer detects accesses to the first
  // byte after it.
  void* const memory = ::operator new (bytes, std::align_val_t{128});
  std::memset(memory, 0xff, bytes);  // NaN, or -1: exposes reads before writes
  shared_.push_back({key, offset, bytes, memory});
  return memory;
}

void Machine::drop_shared() {
  for (const SharedPiece& piece : shared_) used_memory_.push_back(piece.memory);
  shared_.clear();
}

// ---- launches ----

void Machine::check_launch(Extent grid, Extent block, std::size_t shared_bytes) const {
  const auto refuse = [&](const std::string& what) {
    throw EmulationError(refrain::detail::concat(name_, ": cannot be launched: ", what));
  };
  const std::uint64_t threads = std::uint64_t{block.x} * block.y * block.z;
  if (threads == 0 || threads > max_threads)
    refuse(refrain::detail::concat("a block of ", threads, " threads"));
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) refuse("an empty grid");
  if (grid.x > 0x7fffffff || grid.y > max_blocks_yz || grid.z > max_blocks_yz) {
    refuse(refrain::detail::concat("a grid of ", grid.x, " x ", grid.y, " x ", grid.z, " blocks"));
  }
  if (shared_bytes > largest_shared_bytes)
    refuse(refrain::detail::concat(shared_bytes, " bytes of shared memory"));
}

void Machine::run(const char* name, Extent grid, Extent block, std::size_t shared_bytes,
                  void (*body)(void*), void* argument) {
  name_ = name;
  check_launch(grid, block, shared_bytes);
  ++launches;
  Fiber main;
  main_ = &main;
  count_ = block.x * block.y * block.z;
  gridDim = dim3(grid.x, grid.y, grid.z);
  blockDim = dim3(block.x, block.y, block.z);
  body_ = body;
  argument_ = argument;
  shared_bytes_ = shared_bytes;
  random_.seed(schedule.seed);
  launch_begin_.release();
  const LaunchEnd end(*this);
  {
    const Overlook overlook;
    while (threads_.size() < count_)
      threads_.push_back(std::make_unique<Thread>(static_cast<unsigned>(threads_.size())));
    warps_.resize((count_ + lanes - 1) / lanes);
    for (unsigned i = 0; i < count_; ++i)
      threads_[i]->index = {i % block.x, i / block.x % block.y, i / (block.x * block.y)};

    std::vector<std::uint64_t> blocks(std::size_t{grid.x} * grid.y * grid.z);
    for (std::size_t i = 0; i < blocks.size(); ++i) blocks[i] = i;
    if (schedule.order == Order::reverse) std::reverse(blocks.begin(), blocks.end());
    if (schedule.order == Order::random) std::shuffle(blocks.begin(), blocks.end(), random_);
    for (const std::uint64_t number : blocks) {
      blockIdx = {static_cast<unsigned>(number % grid.x),
                  static_cast<unsigned>(number / grid.x % grid.y),
                  static_cast<unsigned>(number / grid.x / grid.y)};
      run_block();
    }
  }
}

/// Orders the threads' accesses before those of the caller, also when the launch failed.
Machine::LaunchEnd::~LaunchEnd() {
  machine_.launch_end_.acquire();
  for (void* memory : machine_.used_memory_) ::operator delete (memory, std::align_val_t{128});
  machine_.used_memory_.clear();
}

void Machine::run_block() {
  abandoning_ = false;
  failure_.clear();
  waiting_ = 0;
  live_ = count_;
  ready_.clear();
  for (Warp& warp : warps_) {
    for (Meeting& meeting : warp.meetings) meeting.mask = meeting.arrived = meeting.unread = 0;
  }
  for (unsigned i = 0; i < count_; ++i) {
    Thread& thread = *threads_[i];
    thread.state = State::ready;
    thread.error = nullptr;
    thread.open_copies.clear();
    thread.copy_groups.clear();
  }
  make_ready(0, count_);
  while (!ready_.empty() && !abandoning_) {
    Thread& next = *threads_[take_ready()];
    enter(next);
    main_->switch_to(next.fiber);
    for (unsigned i = 0; i < count_; ++i)
      abandoning_ = abandoning_ || threads_[i]->error != nullptr;
  }
  if (!abandoning_) check_finished();
  if (abandoning_) abandon_block();
  drop_shared();
  for (unsigned i = 0; i < count_; ++i) {
    if (threads_[i]->error) std::rethrow_exception(std::exchange(threads_[i]->error, nullptr));
  }
  if (abandoning_) throw EmulationError(failure_);
}

/// Checks that all threads have ended and that no copy is in flight.
void Machine::check_finished() {
  if (live_ > 0) {
    std::string waiting;
    int named = 0;
    for (unsigned i = 0; i < count_ && named < 4; ++i) {
      const Thread& thread = *threads_[i];
      if (thread.state == State::done) continue;
      waiting += refrain::detail::concat(who(thread), " in ", thread.waits_for, " at ",
                                         where(thread.waits_at));
      if (thread.state == State::at_warp_operation)
        waiting += refrain::detail::concat(" for the lanes ", hex(thread.wait_mask));
      waiting += "; ";
      ++named;
    }
    failure_ = refrain::detail::concat(name_, ": threads wait for ever: ", waiting, count_ - live_,
                                       " of ", count_, " threads have ended");
    abandoning_ = true;
    return;
  }
  for (unsigned i = 0; i < count_; ++i) {
    const Thread& thread = *threads_[i];
    if (thread.open_copies.empty() && thread.copy_groups.empty()) continue;
    failure_ = refrain::detail::concat(name_, ": ", who(thread),
                                       " ended with asynchronous copies under way");
    abandoning_ = true;
    return;
  }
}

/// Unwinds the stacks of all threads that have not ended.
void Machine::abandon_block() {
  ready_.clear();
  for (unsigned i = 0; i < count_; ++i) {
    if (threads_[i]->state == State::done) continue;
    enter(*threads_[i]);
    main_->switch_to(threads_[i]->fiber);
  }
}

// ---- the interface ----

void set_schedule(const Schedule& schedule) { machine().schedule = schedule; }

std::int64_t launches() { return machine().launches; }

void run(const char* name, Extent grid, Extent block, std::size_t shared_bytes, void (*body)(void*),
         void* argument) {
  machine().run(name, grid, block, shared_bytes, body, argument);
}

int block_barrier(Vote vote, int predicate, const Site& site) {
  return machine().block_barrier(vote, predicate, site);
}

const Deposits& exchange(const char* operation, unsigned mask, const void* value, std::size_t bytes,
                         bool orders_memory, const Site& site) {
  return machine().exchange(operation, mask, value, bytes, orders_memory, site);
}

unsigned current_lane() {
  const Overlook overlook;
  return machine().running().linear % lanes;
}

void fail(const std::string& what, const Site& site) { machine().fail(what, site); }

void* shared_array(const void* key, std::size_t offset, std::size_t bytes, const Site& site) {
  return machine().shared_array(key, offset, bytes, site);
}

void copy_async(void* to, const void* from, int bytes, const Site& site) {
  const auto misaligned = [bytes](const void* address) {
    return reinterpret_cast<std::uintptr_t>(address) % static_cast<std::uintptr_t>(bytes) != 0;
  };
  if (misaligned(to) || misaligned(from)) {
    fail(
        refrain::detail::concat("copy_async<", bytes, ">: an address is not a multiple of ", bytes),
        site);
  }
  // The source is read here and the target holds NaN until the group is waited for. Byte by byte,
  // so that sanitizers attribute both accesses to this thread.
  Copy copy{static_cast<std::byte*>(to), bytes, {}};
  for (int i = 0; i < bytes; ++i) {
    if (from != nullptr)
      copy.data[static_cast<std::size_t>(i)] = static_cast<const std::byte*>(from)[i];
    copy.to[i] = std::byte{0xff};
  }
  const Overlook overlook;
  machine().running().open_copies.push_back(copy);
}

void commit_copies() {
  const Overlook overlook;
  Thread& thread = machine().running();
  thread.copy_groups.push_back(std::exchange(thread.open_copies, {}));
}

void wait_copies(int left) {
  for (;;) {
    std::vector<Copy> group;
    {
      const Overlook overlook;
      auto& groups = machine().running().copy_groups;
      if (groups.size() <= static_cast<std::size_t>(left)) return;
      group = std::move(groups.front());
      groups.erase(groups.begin());
    }
    for (const Copy& copy : group) {
      for (int i = 0; i < copy.bytes; ++i) copy.to[i] = copy.data[static_cast<std::size_t>(i)];
    }
  }
}

}  // namespace refrain::simt::emulation
