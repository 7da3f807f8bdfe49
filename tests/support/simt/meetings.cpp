/// Synchronization of the threads of a block: barriers, and the operations of a warp.

#include <cstring>

#include "support/simt/machine_state.hpp"

namespace refrain::simt::emulation {
namespace {

bool same_place(const Site& a, const Site& b) {
  return a.line() == b.line() && a.column() == b.column() &&
         std::strcmp(a.file_name(), b.file_name()) == 0;
}

}  // namespace

int Machine::block_barrier(Vote vote, int predicate, const Site& site) {
  const std::size_t parity = barrier_round_ & 1;
  int result = 0;
  barrier_order_[parity].release();
  {
    const Overlook overlook;
    Thread& thread = *running_;
    if (waiting_ == 0) {
      barrier_site_ = site;
      vote_ = vote == Vote::all ? 1 : 0;
    } else if (!same_place(barrier_site_, site)) {
      fail(
          refrain::detail::concat("divergent __syncthreads: others wait at ", where(barrier_site_)),
          site);
    }
    switch (vote) {
      case Vote::count:
        vote_ += predicate != 0 ? 1 : 0;
        break;
      case Vote::all:
        vote_ = vote_ != 0 && predicate != 0 ? 1 : 0;
        break;
      case Vote::any:
        vote_ = vote_ != 0 || predicate != 0 ? 1 : 0;
        break;
    }
    if (++waiting_ == count_) {
      waiting_ = 0;
      ++barrier_round_;
      vote_result_ = vote_;
      for (unsigned i = 0; i < count_; ++i) threads_[i]->state = State::ready;
      make_ready(0, count_);
    } else {
      thread.state = State::at_barrier;
      thread.waits_at = site;
      thread.waits_for = "__syncthreads";
    }
    wait(thread);
    if (abandoning_) throw Abandoned();
    result = vote_result_;
  }
  barrier_order_[parity].acquire();
  return result;
}

Meeting& Machine::meeting_of(Warp& warp, unsigned mask, const Site& site) {
  for (Meeting& meeting : warp.meetings) {
    if (meeting.mask == mask) return meeting;
  }
  for (Meeting& meeting : warp.meetings) {
    if (meeting.arrived == 0 && meeting.unread == 0) {
      meeting.mask = mask;
      return meeting;
    }
  }
  fail("more than 8 different masks in one warp at a time", site);
}

const Deposits& Machine::exchange(const char* operation, unsigned mask, const void* value,
                                  std::size_t bytes, bool orders_memory, const Site& site) {
  const Deposits* result = nullptr;
  OrderPoint* order = nullptr;
  {
    const Overlook overlook;
    Thread& thread = *running_;
    const unsigned lane = thread.linear % lanes;
    const unsigned first = thread.linear - lane;
    if ((mask >> lane & 1) == 0)
      fail(refrain::detail::concat(operation, ": the calling lane is not in the mask ", hex(mask)),
           site);
    Meeting& meeting = meeting_of(warps_[thread.linear / lanes], mask, site);
    if (meeting.arrived == 0) {
      meeting.operation = operation;
    } else if (std::strcmp(meeting.operation, operation) != 0) {
      fail(refrain::detail::concat("divergent warp: ", operation,
                                   " while other lanes of the mask wait in ", meeting.operation),
           site);
    }
    Deposits& deposits = meeting.deposits[meeting.round & 1];
    std::memcpy(deposits[lane].data(), value, bytes);
    result = &deposits;
    order = &meeting.order[meeting.round & 1];
    if (orders_memory) order->release();
    meeting.arrived |= 1u << lane;
    if (meeting.arrived == mask) {
      meeting.arrived = 0;
      meeting.unread = mask;
      ++meeting.round;
      const bool descending = schedule.order != Order::reverse;
      for (unsigned i = 0; i < lanes; ++i) {
        const unsigned other = descending ? lanes - 1 - i : i;
        if ((mask >> other & 1) == 0 || other == lane) continue;
        threads_[first + other]->state = State::ready;
        ready_.push_back(first + other);
      }
      if (schedule.order == Order::random && random_() % 2 == 0) {
        ready_.push_back(thread.linear);
        wait(thread);
      }
    } else {
      thread.state = State::at_warp_operation;
      thread.waits_at = site;
      thread.waits_for = operation;
      thread.wait_mask = mask;
      wait(thread);
    }
    if (abandoning_) throw Abandoned();
    meeting.unread &= ~(1u << lane);
  }
  if (orders_memory) order->acquire();
  return *result;
}

}  // namespace refrain::simt::emulation
