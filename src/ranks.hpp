#pragma once
/// What the functions over ranks share: numbers of ranks as indices, tensors as bytes, element
/// types, and tensors that ranks send.

#include <cstddef>
#include <cstdint>
#include <exception>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "refrain/core/tensor.hpp"
#include "refrain/distributed/agreement.hpp"
#include "refrain/distributed/communicator.hpp"

namespace refrain {

inline std::size_t at(std::int64_t index) { return static_cast<std::size_t>(index); }

inline std::span<const std::byte> bytes_of(const Tensor& tensor) {
  return {static_cast<const std::byte*>(tensor.raw()), tensor.bytes()};
}
inline std::span<std::byte> bytes_of(Tensor& tensor) {
  return {static_cast<std::byte*>(tensor.raw()), tensor.bytes()};
}

/// Calls function(T{}) with the element type of f32 or f64.
template <class Function>
void with_type(DType dtype, Function&& function) {
  dtype == DType::f32 ? function(float{}) : function(double{});
}

/// Runs work() on every rank, which does not communicate. Returns, equally on every rank, the ranks
/// on which it threw and the reasons: "rank 1 (node7): ..."; empty when it threw on none.
template <class Work>
std::string failures_of(Communicator& communicator, const Work& work) {
  std::string reason;
  try {
    work();
  } catch (const std::exception& error) {
    reason = error.what();
    if (reason.empty()) reason = "unknown error";
  }
  const auto reasons = gather_bytes(communicator, std::as_bytes(std::span(reason)));
  std::string text;
  for (std::size_t rank = 0; rank < reasons.size(); ++rank) {
    if (reasons[rank].empty()) continue;
    text +=
        detail::concat(text.empty() ? "" : "; ", communicator.text(static_cast<int>(rank)), ": ",
                       std::string_view(reinterpret_cast<const char*>(reasons[rank].data()),
                                        reasons[rank].size()));
  }
  return text;
}

/// Joins the tensors [n, ...] of all ranks, on the device of the own one; `counts`: their n.
inline Tensor gather_tensors(Communicator& communicator, const Tensor& own,
                             std::span<const std::int64_t> counts) {
  std::int64_t total = 0;
  for (const std::int64_t count : counts) total += count;
  Tensor all(own.shape().with(0, total), own.dtype(), own.device());
  const std::size_t row = at(own.shape().with(0, 1).numel()) * size_bytes(own.dtype());
  std::vector<std::span<std::byte>> blocks;
  std::size_t begin = 0;
  for (const std::int64_t count : counts) {
    blocks.push_back(bytes_of(all).subspan(begin, at(count) * row));
    begin += at(count) * row;
  }
  communicator.all_gather(bytes_of(own), blocks, own.device());
  return all;
}

/// Sends rows of own [sum of to, ...] to the ranks, to[r] of them to rank r, in the order of the
/// ranks; returns the rows that they send, from[r] of them from rank r.
inline Tensor exchange_rows(Communicator& communicator, const Tensor& own,
                            std::span<const std::int64_t> to, std::span<const std::int64_t> from) {
  std::int64_t total = 0;
  for (const std::int64_t count : from) total += count;
  Tensor received(own.shape().with(0, total), own.dtype());
  const std::size_t row = at(own.shape().with(0, 1).numel()) * size_bytes(own.dtype());
  std::vector<std::span<const std::byte>> sent_bytes;
  std::vector<std::span<std::byte>> received_bytes;
  std::size_t sent_begin = 0, received_begin = 0;
  for (std::size_t rank = 0; rank < to.size(); ++rank) {
    const std::size_t sent_size = at(to[rank]) * row, received_size = at(from[rank]) * row;
    sent_bytes.push_back(bytes_of(own).subspan(sent_begin, sent_size));
    received_bytes.push_back(bytes_of(received).subspan(received_begin, received_size));
    sent_begin += sent_size;
    received_begin += received_size;
  }
  communicator.exchange(sent_bytes, received_bytes);
  return received;
}

}  // namespace refrain
