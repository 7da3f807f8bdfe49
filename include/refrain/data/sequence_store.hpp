#pragma once
/// Sequence stores: behaviour logs as sequences on disk, for data larger than memory.

#include <cstdint>
#include <functional>
#include <string>

#include "refrain/core/export.hpp"
#include "refrain/data/readers.hpp"

namespace refrain {

/// How far prepare_store() has come.
struct StoreProgress {
  const char* phase = "";       ///< "reading", "sorting", "writing"
  std::int64_t events = 0;      ///< of the log, so far
  std::int64_t bytes = 0;       ///< of the log that have been read
  std::int64_t file_bytes = 0;  ///< length of the log; 0 when unknown
  std::int64_t parts = 0;       ///< buckets that are sorted, or rows that are written
};

/// Options of prepare_store().
struct StoreOptions {
  /// Smallest memory_bytes.
  static constexpr std::int64_t min_memory_bytes = std::int64_t{8} << 20;

  /// Options of the reader; keep_ratings has no effect.
  ReadOptions read = {};
  /// Bytes of memory that preparing may use for its tables and buffers. The result does not depend
  /// on it.
  std::int64_t memory_bytes = std::int64_t{1} << 30;
  /// Called after every 65,536 lines and each part of the later phases.
  std::function<void(const StoreProgress&)> on_progress = {};
};

/// What prepare_store() wrote.
struct StoreReport {
  std::int64_t rows = 0;    ///< sequences, one for each user
  std::int64_t events = 0;  ///< items of all sequences, of both sides
  std::int64_t items = 0;   ///< different items, of both sides
  std::int64_t log_bytes = 0;
  /// bytes written to temporary files in the new folder, which are removed
  std::int64_t spilled_bytes = 0;
};

/// Writes the sequences of a log of any format to a new folder, with bounded memory.
///
/// read_sequences(), read_transfer() and read_dataset() read the folder as they read the log, with
/// the same result row for row, item number for item number. Rows that are read from the folder are
/// views of its mapped file.
///
/// `log`: a file, or "-" for the standard input. Memory holds the ids of the items, and in formats
/// of one line per user also those of the users; events of a log of events go to temporary files by
/// a hash of their user, which are sorted one by one. The folder is built under a temporary name
/// beside `store` and renamed, so a killed process leaves no store.
///
/// Throws as the reader; OptionError when memory_bytes is below min_memory_bytes or too small for
/// the ids or for the events of one user; DataError when `store` exists or cannot be written.
REFRAIN_API StoreReport prepare_store(const std::string& log, const std::string& store,
                                      const StoreOptions& options = {});

/// True when the path is a folder with the manifest of a sequence store.
REFRAIN_API bool is_store(const std::string& path);

}  // namespace refrain
