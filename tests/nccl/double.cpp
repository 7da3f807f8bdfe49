#include "nccl/double.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

/// The communicator of one rank.
struct ncclComm {
  struct Receive {
    void* to;
    std::size_t bytes;
    int peer;
  };

  refrain::nccl::Id id{};
  int rank = 0;
  int ranks = 0;
  bool has_ended = false;
  bool is_finalized = false;
  int fixed_state = -1;         ///< the state whatever happens; -1: none
  std::vector<Receive> open{};  ///< messages that have not arrived
};

/// For programs that link the double in place of src/nccl/functions.cpp.
std::unique_ptr<refrain::Communicator> refrain::nccl_ranks(Communicator& host,
                                                           const NcclOptions& options) {
  return nccl::ranks(host, options, test::nccl_double::functions());
}

namespace refrain::test::nccl_double {
namespace {

constexpr int invalid = 4, invalid_usage = 5;  // ncclInvalidArgument, ncclInvalidUsage

struct Message {
  bool is_sent;
  const void* from;
  void* to;
  std::size_t bytes;
  int peer;
  ncclComm* comm;
};

/// What the ranks of this process share.
struct State {
  std::mutex mutex;
  std::vector<std::vector<Call>> calls = std::vector<std::vector<Call>>(16);
  std::map<std::pair<std::string, int>, int> faults;
  std::vector<std::unique_ptr<ncclComm>> comms;
  std::map<std::pair<int, int>, std::deque<std::vector<std::byte>>> mail;  ///< [from, to]
  Gpus gpus = Gpus::own;
  int next_id = 0;
  int next_gpu = 0;
};

State& state() {
  static State instance;
  return instance;
}

thread_local int own_rank = 0;            ///< the rank of this thread, from init() on
thread_local std::vector<Message> group;  ///< of this thread

int rank_of(const ncclComm* comm) { return comm == nullptr ? own_rank : comm->rank; }

void record(Call call, const ncclComm* comm) {
  if (comm != nullptr && comm->has_ended) call.name = "misuse";
  state().calls.at(static_cast<std::size_t>(rank_of(comm))).push_back(std::move(call));
}

/// The result that a fault gives to a function, or else that of `work`.
template <class Work>
int result_of(const std::string& name, const ncclComm* comm, Work&& work) {
  const auto fault = state().faults.find({name, rank_of(comm)});
  return fault != state().faults.end() ? fault->second : work();
}

/// True when `is_true` holds for the communicators of all ranks.
template <class Condition>
bool all_ranks(const ncclComm& like, Condition&& is_true) {
  return std::ranges::count_if(state().comms, [&](const std::unique_ptr<ncclComm>& comm) {
           return comm->id == like.id && is_true(*comm);
         }) == like.ranks;
}

/// Receives what has been sent; the state of the communicator.
int poll(ncclComm& comm) {
  if (comm.fixed_state >= 0) return comm.fixed_state;
  if (!all_ranks(comm, [](const ncclComm&) { return true; })) return nccl::in_progress;
  std::vector<ncclComm::Receive> open;
  for (const ncclComm::Receive& receive : comm.open) {
    std::deque<std::vector<std::byte>>& sent = state().mail[{receive.peer, comm.rank}];
    if (sent.empty()) {
      open.push_back(receive);
      continue;
    }
    if (sent.front().size() != receive.bytes) return invalid;
    std::memcpy(receive.to, sent.front().data(), receive.bytes);
    sent.pop_front();
  }
  comm.open = std::move(open);
  const bool is_ending =
      comm.is_finalized && !all_ranks(comm, [](const ncclComm& each) { return each.is_finalized; });
  return comm.open.empty() && !is_ending ? nccl::success : nccl::in_progress;
}

int add_to_group(const char* name, const Message& message, int type, void* stream) {
  const std::lock_guard lock(state().mutex);
  record({name, message.peer, message.bytes, type, stream}, message.comm);
  return result_of(name, message.comm, [&] {
    group.push_back(message);
    return nccl::in_progress;
  });
}

int end(ncclComm* comm, const char* name) {
  const std::lock_guard lock(state().mutex);
  record({name}, comm);
  comm->has_ended = true;
  return result_of(name, comm, [] { return nccl::success; });
}

constexpr nccl::Functions table{
    .get_unique_id =
        [](nccl::Id* id) {
          const std::lock_guard lock(state().mutex);
          record({"get_unique_id"}, nullptr);
          return result_of("get_unique_id", nullptr, [&] {
            std::snprintf(id->data(), id->size(), "group %d", ++state().next_id);
            return nccl::success;
          });
        },
    .init =
        [](ncclComm** comm, int ranks, const nccl::Id& id, int rank) {
          const std::lock_guard lock(state().mutex);
          own_rank = rank;
          record({"init"}, nullptr);
          return result_of("init", nullptr, [&] {
            state().comms.push_back(std::make_unique<ncclComm>(ncclComm{id, rank, ranks}));
            *comm = state().comms.back().get();
            return nccl::in_progress;
          });
        },
    .group_start =
        [] {
          const std::lock_guard lock(state().mutex);
          record({"group_start"}, nullptr);
          return result_of("group_start", nullptr, [] {
            group.clear();
            return nccl::success;
          });
        },
    .group_end =
        [] {
          const std::lock_guard lock(state().mutex);
          record({"group_end"}, nullptr);
          return result_of("group_end", nullptr, [] {
            for (const Message& message : group) {
              ncclComm& comm = *message.comm;
              if (const auto fault = state().faults.find({"state", comm.rank});
                  fault != state().faults.end())
                comm.fixed_state = fault->second;
              if (message.is_sent) {
                const auto* bytes = static_cast<const std::byte*>(message.from);
                state().mail[{comm.rank, message.peer}].emplace_back(bytes, bytes + message.bytes);
              } else {
                comm.open.push_back({message.to, message.bytes, message.peer});
              }
            }
            group.clear();
            return nccl::in_progress;
          });
        },
    .send =
        [](const void* from, std::size_t count, int type, int peer, ncclComm* comm, void* stream) {
          return add_to_group("send", {true, from, nullptr, count, peer, comm}, type, stream);
        },
    .receive =
        [](void* to, std::size_t count, int type, int peer, ncclComm* comm, void* stream) {
          return add_to_group("receive", {false, nullptr, to, count, peer, comm}, type, stream);
        },
    .async_error =
        [](ncclComm* comm, int* latest) {
          const std::lock_guard lock(state().mutex);
          if (comm->has_ended) record({"async_error"}, comm);
          return result_of("async_error", comm, [&] {
            *latest = poll(*comm);
            return nccl::success;
          });
        },
    .finalize =
        [](ncclComm* comm) {
          const std::lock_guard lock(state().mutex);
          record({"finalize"}, comm);
          return result_of("finalize", comm, [&] {
            comm->is_finalized = true;
            return nccl::in_progress;
          });
        },
    .destroy = [](ncclComm* comm) { return end(comm, "destroy"); },
    .abort = [](ncclComm* comm) { return end(comm, "abort"); },
    .error_string = [](int result) -> const char* {
      return result == invalid         ? "invalid argument"
             : result == invalid_usage ? "invalid usage"
                                       : "unhandled system error";
    },
    .last_error = [](ncclComm*) -> const char* { return "planted"; },
    .gpu_id = [](char* text, int size) -> bool {
      const std::lock_guard lock(state().mutex);
      const int number = state().gpus == Gpus::own ? state().next_gpu++ : 0;
      std::snprintf(text, static_cast<std::size_t>(size), "0000:%02X:00.0", number);
      return true;
    },
};

}  // namespace

const nccl::Functions& functions() { return table; }

void reset() {
  State& all = state();
  const std::lock_guard lock(all.mutex);
  for (std::vector<Call>& calls : all.calls) calls.clear();
  all.faults.clear();
  all.comms.clear();
  all.mail.clear();
  all.gpus = Gpus::own;
}

std::vector<Call> calls(int rank) {
  const std::lock_guard lock(state().mutex);
  return state().calls.at(static_cast<std::size_t>(rank));
}

std::int64_t count(const std::string& name, int rank) {
  return std::ranges::count(calls(rank), name, &Call::name);
}

void fail(const std::string& name, int rank, int result) {
  const std::lock_guard lock(state().mutex);
  state().faults[{name, rank}] = result;
}

void set_gpus(Gpus gpus) {
  const std::lock_guard lock(state().mutex);
  state().gpus = gpus;
}

}  // namespace refrain::test::nccl_double
