#include <algorithm>
#include <memory>
#include <numeric>
#include <utility>

#include "src/buffered_file.hpp"
#include "src/store_files.hpp"

namespace refrain::detail {
namespace {

constexpr std::size_t block_bytes = std::size_t{1} << 20;

/// A store that is being read.
struct OpenStore {
  const std::string& folder;
  const Manifest& manifest;

  std::string path(const std::string& name) const { return folder + "/" + name; }

  /// The manifest's entry of a file, which must have `bytes` bytes.
  const StoreFile& file(const std::string& name, std::uint64_t bytes) const {
    const StoreFile& entry = file(name);
    if (entry.bytes != bytes)
      throw DataError(path(manifest_name), 0,
                      concat("expected ", bytes, " bytes of ", name, ", got ", entry.bytes));
    return entry;
  }
  const StoreFile& file(const std::string& name) const {
    const auto found = manifest.files.find(name);
    if (found == manifest.files.end())
      throw DataError(path(manifest_name), 0, concat("expected a file ", name, ", got none"));
    return found->second;
  }

  /// Opens a file to read its first byte next.
  BufferedReader open(const std::string& name, const StoreFile& entry) const {
    BufferedReader reader(path(name), block_bytes);
    if (reader.size() != entry.bytes)
      throw DataError(path(name), 0,
                      concat("expected ", entry.bytes, " bytes, got ", reader.size(),
                             ": the file is truncated or of another store"));
    return reader;
  }

  void expect_hash(const std::string& name, const StoreFile& entry, std::uint64_t hash) const {
    if (hexadecimal(hash) == entry.hash) return;
    throw DataError(
        path(name), 0,
        concat("the file is damaged: expected the hash ", entry.hash, ", got ", hexadecimal(hash)));
  }
};

std::uint64_t bytes_of(std::int64_t count, std::size_t size) {
  return static_cast<std::uint64_t>(count) * size;
}

/// Reads a file of ends, which rise from 0 to `last`.
std::vector<std::int64_t> read_ends(const OpenStore& store, const std::string& name,
                                    std::int64_t count, std::int64_t last) {
  const StoreFile& entry = store.file(name, bytes_of(count, sizeof(std::int64_t)));
  BufferedReader reader = store.open(name, entry);
  std::vector<std::int64_t> ends(static_cast<std::size_t>(count));
  reader.read(ends.data(), ends.size() * sizeof(std::int64_t));
  store.expect_hash(name, entry, reader.hash());
  if (!std::is_sorted(ends.begin(), ends.end()) || (count > 0 && ends.front() < 0) ||
      (count > 0 ? ends.back() : 0) != last)
    throw DataError(store.path(name), 0,
                    concat("expected ends that rise to ", last, ", got others"));
  return ends;
}

/// Reads the ids of items or users.
StringTable read_ids(const OpenStore& store, const std::string& name, std::int64_t count) {
  const StoreFile& entry = store.file(name + ".text");
  const std::vector<std::int64_t> ends =
      read_ends(store, name + ".ends", count, static_cast<std::int64_t>(entry.bytes));
  BufferedReader reader = store.open(name + ".text", entry);
  StringTable ids;
  std::string id;
  std::int64_t begin = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    id.resize(static_cast<std::size_t>(ends[static_cast<std::size_t>(i)] - begin));
    reader.read(id.data(), id.size());
    begin = ends[static_cast<std::size_t>(i)];
    if (ids.intern(id) != i)
      throw DataError(store.path(name + ".text"), 0,
                      concat("expected different ids, got one twice at number ", i));
  }
  store.expect_hash(name + ".text", entry, reader.hash());
  return ids;
}

/// Maps the item numbers of a side, and reads them once to check them.
std::shared_ptr<const MappedIds> map_items(const OpenStore& store, const std::string& name,
                                           const StoreSide& side) {
  const StoreFile& entry = store.file(name, bytes_of(side.events, sizeof(std::int32_t)));
  auto items = std::make_shared<const MappedIds>(store.path(name), side.events);
  Xxh64 hash;
  constexpr std::size_t block = block_bytes / sizeof(std::int32_t);
  bool is_in_range = true;
  for (std::span<const std::int32_t> left = items->ids(); !left.empty();) {
    const std::span<const std::int32_t> now = left.first(std::min(block, left.size()));
    hash.update(now.data(), now.size_bytes());
    for (const std::int32_t item : now) is_in_range &= item >= 0 && item < side.items;
    left = left.subspan(now.size());
  }
  items->expect_length();
  store.expect_hash(name, entry, hash.digest());
  if (!is_in_range)
    throw DataError(store.path(name), 0,
                    concat("expected item numbers below ", side.items, ", got others"));
  return items;
}

Sequences read_side(const OpenStore& store, const StoreSide& side, const std::string& prefix) {
  Sequences sequences;
  std::vector<std::int64_t> ends = read_ends(store, prefix + ends_name, side.rows, side.events);
  sequences.rows = RaggedIds(map_items(store, prefix + items_name, side), std::move(ends));
  sequences.items = read_ids(store, prefix + item_ids_name, side.items);
  if (!side.has_users) return sequences;
  sequences.users = read_ids(store, prefix + users_name, side.rows);
  sequences.user.resize(static_cast<std::size_t>(side.rows));
  std::iota(sequences.user.begin(), sequences.user.end(), 0);
  return sequences;
}

/// Throws OptionError unless the store was prepared with these options.
void expect_options(const std::string& store, const Manifest& manifest,
                    const ReadOptions& options) {
  if (options.format != Format::automatic && options.format != manifest.format)
    throw OptionError(concat(store, ": expected format automatic or ", name(manifest.format),
                             ", the format of the log that it was prepared from, got ",
                             name(options.format)));
  // The user column may be that of profiles.
  if (!options.item_column.empty() || !options.time_column.empty())
    throw OptionError(concat(store,
                             ": item_column and time_column (--item-column, --time-column) belong "
                             "to preparing"));
  if (options.in_file_order && !manifest.in_file_order)
    throw OptionError(concat(store,
                             ": in_file_order (--in-file-order) belongs to preparing, and this "
                             "store was prepared without it"));
}

}  // namespace

TransferSequences read_store(const std::string& store, const ReadOptions& options,
                             bool is_transfer) {
  const Manifest manifest = read_manifest(store);
  expect_options(store, manifest, options);
  if (manifest.has_target != is_transfer)
    throw OptionError(concat(store, " is a sequence store of format ", name(manifest.format),
                             is_transfer ? ", which has no targets" : ": use read_transfer"));
  const OpenStore open{store, manifest};
  if (options.report != nullptr) {
    *options.report = ReadReport();
    options.report->read_as = concat("a sequence store of ", manifest.log, ", ", manifest.read_as);
  }
  TransferSequences sides;
  sides.source = read_side(open, manifest.source, "");
  if (is_transfer) sides.target = read_side(open, manifest.target, target_prefix);
  return sides;
}

}  // namespace refrain::detail
