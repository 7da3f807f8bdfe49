#pragma once
/// A double of NCCL: it records the calls of all ranks and moves the bytes between threads.

#include <cstddef>
#include <string>
#include <vector>

#include "src/nccl/functions.hpp"

namespace refrain::test::nccl_double {

/// A call of a function of nccl::Functions, by the name of its member. Polls and texts of errors
/// are not recorded. "misuse": a function was called with a communicator that has ended.
struct Call {
  std::string name;
  int peer = -1;
  std::size_t bytes = 0;
  int type = -1;
  void* stream = nullptr;

  friend bool operator==(const Call&, const Call&) = default;
};

const nccl::Functions& functions();

/// Forgets all calls, communicators and faults. Not while a rank uses the double.
void reset();

/// The calls of a rank, in order.
std::vector<Call> calls(int rank);
/// How often a rank called the function.
std::int64_t count(const std::string& name, int rank);

/// From now on the function of the rank returns the result and has no effect. "state": after the
/// next group the communicator has this state, nccl::in_progress included.
void fail(const std::string& name, int rank, int result);

/// The GPUs of the ranks.
enum class Gpus { own, shared };
void set_gpus(Gpus gpus);

}  // namespace refrain::test::nccl_double
