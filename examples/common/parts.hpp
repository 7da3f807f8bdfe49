#pragma once
/// The files of recommend --all.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

namespace refrain::examples {

/// Users in parts of `part_users`; the last part may have fewer. Users and parts are numbered from
/// 0.
struct Parts {
  std::int64_t users = 0;
  std::int64_t part_users = 1;

  std::int64_t count() const noexcept { return (users + part_users - 1) / part_users; }
  std::int64_t begin(std::int64_t part) const noexcept { return part * part_users; }
  std::int64_t end(std::int64_t part) const noexcept {
    const std::int64_t end = begin(part) + part_users;
    return end < users ? end : users;
  }
  /// "part-00003.jsonl". The order of the names is that of the numbers.
  std::string name(std::int64_t part, const std::string& extension) const;
};

/// A folder of parts with a manifest of the settings that determine their contents. A part that has
/// its name is complete.
///
/// Any number of processes may fill one folder. The manifest, manifest.json, keeps the parts of
/// different settings apart.
class PartFolder {
 public:
  /// Makes the folder and its manifest where they do not exist. Throws OptionError if the folder
  /// has parts of other settings, with the first difference; with `force` it removes these parts
  /// instead. Throws DataError if a file cannot be read, written or removed.
  PartFolder(std::string path, nlohmann::ordered_json settings, bool force);

  /// The path of a file of the folder.
  std::string file(const std::string& name) const;
  /// Whether the folder has a file of this name.
  bool has(const std::string& name) const;
  /// Throws OptionError if the manifest has other settings: another process has started anew.
  void expect_own() const;

 private:
  /// The first difference between the stored settings and those of this run, or an empty text.
  std::string difference() const;
  bool has_parts() const;
  void remove_parts() const;

  std::string path_;
  nlohmann::ordered_json settings_;
};

}  // namespace refrain::examples
