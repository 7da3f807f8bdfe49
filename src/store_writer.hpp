#pragma once
// The folder of a new sequence store, and the files of its sides.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "src/buffered_file.hpp"
#include "src/store_files.hpp"

namespace refrain::detail {

/// A folder under a temporary name beside its final one. Without commit() the destructor removes
/// it; the next folder of the same final name removes what a killed process left. All functions
/// throw DataError with the path and the reason.
class StoreFolder {
 public:
  explicit StoreFolder(std::string path);
  ~StoreFolder();
  StoreFolder(const StoreFolder&) = delete;
  StoreFolder& operator=(const StoreFolder&) = delete;

  /// The path of a file in the folder.
  std::string path(const std::string& name) const { return temporary_ + "/" + name; }
  /// Renames the folder to its final name, which must be free, and syncs both folders. The files
  /// must have been synced.
  void commit();

 private:
  void remove_abandoned() const;

  std::string path_;
  std::string temporary_;
  int descriptor_ = -1;  ///< of the folder; it holds the lock
};

/// Strings end to end and their ends: the files NAME.text and NAME.ends.
class StringsWriter {
 public:
  StringsWriter(const StoreFolder& folder, const std::string& name, std::size_t buffer_bytes)
      : name_(name),
        text_(folder.path(name + ".text"), buffer_bytes),
        ends_(folder.path(name + ".ends"), buffer_bytes) {}

  void add(std::string_view text) {
    text_.write(text.data(), text.size());
    ends_.put(static_cast<std::int64_t>(text_.bytes()));
  }
  void add(const StringTable& table) {
    for (std::int32_t i = 0; i < table.size(); ++i) add(table[i]);
  }
  /// Syncs the files and enters them into the manifest.
  void finish(Manifest& manifest);

 private:
  std::string name_;
  BufferedWriter text_;
  BufferedWriter ends_;
};

/// Where rows go one after the other: begin_row(), add() any number of times, end_row().
class RowSink {
 public:
  virtual ~RowSink() = default;
  /// `first` orders the rows; `user` is empty in formats without users; `count`: items of the row.
  virtual void begin_row(std::int64_t first, std::string_view user, std::int64_t count) = 0;
  virtual void add(std::span<const std::int32_t> items) = 0;
  virtual void end_row() = 0;
};

/// The rows and users of one side of a store.
class SideWriter final : public RowSink {
 public:
  SideWriter(const StoreFolder& folder, const std::string& prefix, bool has_users,
             std::size_t buffer_bytes)
      : prefix_(prefix),
        items_(folder.path(prefix + items_name), buffer_bytes),
        ends_(folder.path(prefix + ends_name), buffer_bytes),
        users_(folder, prefix + users_name, buffer_bytes) {
    side_.has_users = has_users;
  }

  void begin_row(std::int64_t, std::string_view user, std::int64_t) override {
    if (side_.has_users) users_.add(user);
  }
  void add(std::span<const std::int32_t> items) override {
    items_.write(items.data(), items.size_bytes());
    side_.events += static_cast<std::int64_t>(items.size());
  }
  void end_row() override {
    ends_.put(side_.events);
    ++side_.rows;
  }
  std::int64_t rows() const noexcept { return side_.rows; }

  /// Syncs the files, enters them into the manifest and returns what they hold.
  StoreSide finish(Manifest& manifest, std::int64_t items);

 private:
  std::string prefix_;
  StoreSide side_;
  BufferedWriter items_;
  BufferedWriter ends_;
  StringsWriter users_;
};

}  // namespace refrain::detail
