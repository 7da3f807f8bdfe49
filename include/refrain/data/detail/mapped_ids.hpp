#pragma once
/// Ids in a file that is mapped into memory.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "refrain/core/export.hpp"

namespace refrain::detail {

/// Ids i32 of a file, mapped read-only and shared by the rows that are views of them.
///
/// A page of a mapped file is lost when another process shortens the file, or when the disk fails.
/// A handler of SIGBUS then maps zeros in its place, and expect_intact() throws. The first mapping
/// of a process installs the handler, which passes on every SIGBUS at an address of others.
class REFRAIN_API MappedIds {
 public:
  /// Maps a file of `count` ids. Throws DataError when the file cannot be opened or mapped or has
  /// another length.
  MappedIds(const std::string& path, std::int64_t count);
  /// Maps an open file of `count` ids and takes over its descriptor. `path` is for messages.
  MappedIds(std::string path, int descriptor, std::int64_t count);
  ~MappedIds();
  MappedIds(const MappedIds&) = delete;
  MappedIds& operator=(const MappedIds&) = delete;

  std::span<const std::int32_t> ids() const noexcept { return {ids_, count_}; }
  const std::string& path() const noexcept { return path_; }

  /// Throws DataError when pages have been lost.
  void expect_intact() const {
    if (is_lost_ != nullptr && is_lost_->load(std::memory_order_relaxed)) throw_lost();
  }
  /// expect_intact(), and throws DataError when the file has another length than at first.
  void expect_length() const;

 private:
  void map();
  void close() noexcept;
  [[noreturn]] void throw_lost() const;

  std::string path_;
  int descriptor_ = -1;
  const std::int32_t* ids_ = nullptr;
  std::size_t count_ = 0;
  std::atomic<bool>* is_lost_ = nullptr;  ///< set by the handler; null for a file of no ids
};

}  // namespace refrain::detail
