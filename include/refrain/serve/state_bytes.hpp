#pragma once
/// Serialized states of users.

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "refrain/core/detail/xxh64.hpp"
#include "refrain/core/error.hpp"
#include "refrain/core/tensor.hpp"

namespace refrain {

/// Writes numbers, texts, ids and tensors in little-endian order, followed by a hash of all bytes.
class StateWriter {
 public:
  void operator()(std::int64_t number) { raw(&number, sizeof number); }
  void operator()(std::string_view text) {
    (*this)(static_cast<std::int64_t>(text.size()));
    raw(text.data(), text.size());
  }
  void operator()(std::span<const std::int32_t> ids) {
    (*this)(static_cast<std::int64_t>(ids.size()));
    raw(ids.data(), ids.size_bytes());
  }
  void operator()(const Tensor& tensor) {
    const Tensor host = tensor.to(Device::cpu);
    (*this)(static_cast<std::int64_t>(host.dtype()));
    (*this)(std::int64_t{host.rank()});
    for (const std::int64_t extent : host.shape().extents()) (*this)(extent);
    raw(host.raw(), host.bytes());
  }

  /// The bytes so far, without the hash.
  const std::string& bytes() const noexcept { return bytes_; }
  /// The bytes and their hash.
  std::string finish() && {
    detail::Xxh64 hash;
    hash.update(bytes_.data(), bytes_.size());
    const std::uint64_t digest = hash.digest();
    raw(&digest, sizeof digest);
    return std::move(bytes_);
  }

 private:
  void raw(const void* from, std::size_t count) {
    bytes_.append(static_cast<const char*>(from), count);
  }

  std::string bytes_;
};

/// Reads the output of a StateWriter in the same order. All functions throw DataError for bytes
/// that are not a state or end early.
class StateReader {
 public:
  /// Reads a part of a state, which has no hash.
  explicit StateReader(std::string_view bytes) : left_(bytes) {}

  /// Reads a whole state and checks its hash.
  static StateReader of_state(std::string_view bytes) {
    std::uint64_t digest = 0;
    if (bytes.size() < sizeof digest) fail("is too short for a state");
    std::memcpy(&digest, bytes.data() + bytes.size() - sizeof digest, sizeof digest);
    bytes.remove_suffix(sizeof digest);
    detail::Xxh64 hash;
    hash.update(bytes.data(), bytes.size());
    if (hash.digest() != digest) fail("is damaged: its hash does not match its bytes");
    return StateReader(bytes);
  }

  void operator()(std::int64_t& number) { raw(&number, sizeof number); }
  std::int64_t number() {
    std::int64_t value = 0;
    (*this)(value);
    return value;
  }
  std::string_view text() {
    const std::size_t size = count(1);
    const std::string_view found = left_.substr(0, size);
    left_.remove_prefix(size);
    return found;
  }
  std::vector<std::int32_t> ids() {
    std::vector<std::int32_t> found(count(sizeof(std::int32_t)));
    raw(found.data(), found.size() * sizeof(std::int32_t));
    return found;
  }
  /// Reads a tensor into `into`, whose dtype and shape must match.
  void operator()(Tensor& into) {
    const std::int64_t dtype = number();
    bool fits = dtype == static_cast<std::int64_t>(into.dtype()) && number() == into.rank();
    for (int axis = 0; fits && axis < into.rank(); ++axis) fits = number() == into.size(axis);
    if (!fits)
      fail(detail::concat("expected a tensor ", into.shape(), " of ", into.dtype(),
                          ", got another one"));
    raw(into.raw(), into.bytes());
  }

  /// True when all bytes have been read.
  bool is_at_end() const noexcept { return left_.empty(); }

  [[noreturn]] static void fail(const std::string& reason) {
    throw DataError("user state", 0, reason);
  }

 private:
  /// A number of elements of `size` bytes that still follow.
  std::size_t count(std::size_t size) {
    const std::int64_t found = number();
    if (found < 0 || static_cast<std::uint64_t>(found) > left_.size() / size) fail("ends early");
    return static_cast<std::size_t>(found);
  }
  void raw(void* to, std::size_t bytes) {
    if (bytes > left_.size()) fail("ends early");
    if (bytes > 0) std::memcpy(to, left_.data(), bytes);
    left_.remove_prefix(bytes);
  }

  std::string_view left_;
};

}  // namespace refrain
