#include "common/output_files.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <utility>

#include "common/concat.hpp"
#include "refrain/core/error.hpp"
#include "refrain/train/safetensors.hpp"

namespace refrain::examples {
namespace {

/// The identity of a file, independent of the path that names it.
class Place {
 public:
  explicit Place(const std::string& path) : path_(path) {
    namespace fs = std::filesystem;
    std::error_code error;
    fs::path whole = fs::absolute(path, error);
    // weakly_canonical() does not resolve a link to a file that does not exist.
    for (int links = 0; links < max_links && fs::is_symlink(whole, error); ++links)
      whole = whole.parent_path() / fs::read_symlink(whole, error);
    whole = fs::weakly_canonical(whole, error);
    if (!error) path_ = whole.string();
    exists_ = ::stat(path_.c_str(), &status_) == 0;
  }

  /// True for a character device such as a terminal or /dev/null, which several options may share.
  bool is_device() const { return exists_ && S_ISCHR(status_.st_mode); }
  /// True for a pipe or a socket. Opening and closing it for a check would end its reader's input.
  bool is_stream() const {
    return exists_ && (S_ISFIFO(status_.st_mode) || S_ISSOCK(status_.st_mode));
  }
  /// True if the file has no write permission at all, which also applies to the superuser, or if
  /// this process may not write it.
  bool is_read_only() const {
    return exists_ && S_ISREG(status_.st_mode) &&
           ((status_.st_mode & (S_IWUSR | S_IWGRP | S_IWOTH)) == 0 ||
            ::access(path_.c_str(), W_OK) != 0);
  }
  bool operator==(const Place& other) const {
    if (path_ == other.path_) return true;
    return exists_ && other.exists_ && status_.st_dev == other.status_.st_dev &&
           status_.st_ino == other.status_.st_ino;
  }

 private:
  static constexpr int max_links = 40;  // the system's limit

  std::string path_;
  bool exists_ = false;
  struct stat status_ = {};
};

void expect_folder(const NamedFile& file) {
  std::error_code error;
  const std::filesystem::path folder = std::filesystem::absolute(file.path, error).parent_path();
  if (std::filesystem::is_directory(folder, error)) return;
  throw OptionError(concat(file.option, ": expected a file in an existing folder, got ", file.path,
                           ": no folder ", folder.string()));
}

void expect_appendable(const std::string& path) {
  std::error_code error;
  const bool is_new = !std::filesystem::exists(path, error);
  std::ofstream out(path, std::ios::binary | std::ios::app);
  if (!out) throw DataError(path, 0, "cannot be written");
  out.close();
  if (is_new) std::filesystem::remove(path, error);
}

}  // namespace

void expect_files(const CommandFiles& files) {
  std::vector<std::pair<std::string, Place>> before;
  const auto add = [&](const NamedFile& file) { before.emplace_back(file.option, file.path); };
  const auto expect_own = [&](const NamedFile& file) {
    const Place place(file.path);
    for (const auto& [option, other] : before) {
      if (place.is_device() || !(place == other)) continue;
      throw OptionError(concat(file.option, ": expected a distinct file, got ", file.path,
                               ", which is ",
                               option == file.option ? "given twice" : "also given as " + option));
    }
    expect_folder(file);
    if (place.is_read_only())
      throw DataError(file.path, 0, concat("is read-only; choose another file for ", file.option));
    add(file);
  };
  for (const NamedFile& file : files.read) {
    if (!file.path.empty()) add(file);
  }
  for (const NamedFile& file : files.replaced) {
    if (file.path.empty())
      throw OptionError(file.option + ": expected a file name, got an empty string");
    expect_own(file);
    expect_replaceable(file.path);
  }
  for (const NamedFile& file : files.appended) {
    if (file.path.empty()) continue;
    expect_own(file);
    if (!Place(file.path).is_stream()) expect_appendable(file.path);
  }
}

std::vector<NamedFile> named_files(const std::string& option,
                                   const std::vector<std::string>& paths) {
  std::vector<NamedFile> files;
  for (const std::string& path : paths) files.push_back({option, path});
  return files;
}

CommandFiles command_files(const LogOptions& log, const RunOptions& run,
                           std::vector<NamedFile> replaced, const std::string& state_file) {
  CommandFiles files{.read = named_files("--data", log.files), .replaced = {}, .appended = {}};
  files.read.push_back({"--titles", log.titles});
  files.read.push_back({"--config", run.config});
  if (!run.processes->is_first()) return files;
  files.replaced = std::move(replaced);
  files.appended = {{"--log", run.log}, {"--ranks", run.ranks}};
  if (!state_file.empty()) files.replaced.push_back({"--resume", state_file});
  return files;
}

}  // namespace refrain::examples
