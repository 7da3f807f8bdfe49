#pragma once
/// What the ranks tell each other besides sums of gradients: requests, row-sparse gradients,
/// whether they run the same program on the same data, and which cores they share.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "refrain/core/tensor.hpp"
#include "refrain/distributed/communicator.hpp"

namespace refrain {

/// The bytes of each rank. Two calls: sizes, then bytes.
REFRAIN_API std::vector<std::vector<std::byte>> gather_bytes(Communicator& communicator,
                                                             std::span<const std::byte> own);

/// The values of all ranks in the order of the ranks; every rank gives the same number of them.
template <class T>
requires std::is_trivially_copyable_v<T> std::vector<T> gather_values(Communicator& communicator,
                                                                      std::span<const T> own) {
  std::vector<T> all(own.size() * static_cast<std::size_t>(communicator.size()));
  std::vector<std::span<std::byte>> blocks;
  for (std::size_t begin = 0; begin < all.size(); begin += own.size())
    blocks.push_back(std::as_writable_bytes(std::span(all).subspan(begin, own.size())));
  blocks.resize(static_cast<std::size_t>(communicator.size()));
  communicator.all_gather(std::as_bytes(own), blocks);
  return all;
}

/// Bit i of the result is set when it is set on any rank. For requests that all ranks must follow
/// at the same step, such as stopping or saving.
REFRAIN_API std::uint64_t any_bits(Communicator& communicator, std::uint64_t own);

/// Rows of a table and their ids.
struct GatheredRows {
  Tensor ids;     ///< [n], i32
  Tensor values;  ///< [n, C]
};

/// The rows of all ranks, joined in the order of the ranks: row-sparse gradients of slices, which
/// the caller joined in the order of its slices, come out in the order of all slices. ids [n] i32,
/// values [n, C] f32 or f64, all ranks on the same device, as the result; n may be 0 and differ
/// between ranks. Sends 24 (R - 1) + n (4 + C e) (R - 1) bytes. Throws ShapeError, DTypeError and
/// DeviceError for other arguments or when C or the dtype differ between ranks.
REFRAIN_API GatheredRows gather_rows(Communicator& communicator, const Tensor& ids,
                                     const Tensor& values);

/// Names and values in which all ranks must agree.
using Identity = std::vector<std::pair<std::string, std::string>>;

/// The version of Refrain, the instruction set level of the CPU kernels (cpu_isa()), the math mode
/// and the byte order of this process, and "arithmetic": a hash of the parameters of a small model
/// after two training steps on the CPU, computed once. CPUs or compilers that differ in any bit of
/// these parameters have other hashes.
REFRAIN_API Identity build_identity();

/// Compares the identities of all ranks. When they differ, every rank throws a CommunicationError
/// that lists each difference from rank 0 with rank and host.
REFRAIN_API void handshake(Communicator& communicator, const Identity& own);

/// The number of threads for this rank, which it gives to set_threads(): the cores on which its
/// thread may run, divided by the number of ranks on the same host that may run on the same ones;
/// at least 1. Thus four ranks on one host of 16 cores have 4 threads each, whether the launcher
/// binds them to cores of their own or not at all. Two calls.
REFRAIN_API int thread_share(Communicator& communicator);

}  // namespace refrain
