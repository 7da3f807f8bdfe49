#pragma once
// The files of a sequence store: docs/large_data.md describes them.

#include <cstdint>
#include <map>
#include <string>

#include "refrain/data/readers.hpp"
#include "refrain/data/sequence_store.hpp"

namespace refrain::detail {

/// Sequences of one side: all sequences, or the source or target sequences of a transfer task.
struct StoreSide {
  std::int64_t rows = 0;
  std::int64_t events = 0;
  std::int64_t items = 0;
  bool has_users = false;
};

/// The length and XXH64 of one file.
struct StoreFile {
  std::uint64_t bytes = 0;
  std::string hash;
};

/// What the manifest says.
struct Manifest {
  std::string log;  ///< name of the log
  Format format = Format::automatic;
  std::string read_as;
  bool in_file_order = false;
  bool has_target = false;
  StoreSide source;
  StoreSide target;
  std::map<std::string, StoreFile> files;
};

/// Names of the files of a store.
inline constexpr const char* manifest_name = "manifest.json";
inline constexpr const char* items_name = "items.i32";
inline constexpr const char* ends_name = "ends.i64";
inline constexpr const char* item_ids_name = "item_ids";  // and users_name: .text and .ends
inline constexpr const char* users_name = "users";
inline constexpr const char* target_prefix = "target_";

/// 16 hexadecimal digits.
std::string hexadecimal(std::uint64_t hash);

std::string text_of(const Manifest& manifest);

/// Reads the manifest of a store. Throws DataError for a folder without one, for another format or
/// version, for another byte order, and for a damaged text.
Manifest read_manifest(const std::string& store);

/// Reads a store; `is_transfer` as read_transfer(), otherwise as read_sequences(). Throws
/// DataError for a file that is missing, damaged or of another length, and OptionError for options
/// that the store was not prepared with.
TransferSequences read_store(const std::string& store, const ReadOptions& options,
                             bool is_transfer);

}  // namespace refrain::detail
