#include "common/output_files.hpp"

#include <filesystem>
#include <fstream>

#include "refrain/core/error.hpp"
#include "refrain/train/safetensors.hpp"

namespace refrain::examples {
namespace {

/// The same for all ways to write the path of one file.
std::string place_of(const std::string& path) {
  std::error_code error;
  const std::filesystem::path whole =
      std::filesystem::weakly_canonical(std::filesystem::absolute(path, error), error);
  return error ? path : whole.string();
}

void expect_folder(const NamedFile& file) {
  std::error_code error;
  const std::filesystem::path folder = std::filesystem::absolute(file.path, error).parent_path();
  if (std::filesystem::is_directory(folder, error)) return;
  throw OptionError(concat(file.option, ": expected a file in a folder that is there, got ",
                           file.path, ": no folder ", folder.string()));
}

}  // namespace

void expect_outputs(const std::vector<NamedFile>& written, const std::vector<NamedFile>& others) {
  std::vector<NamedFile> before;
  for (const NamedFile& other : others) {
    if (!other.path.empty()) before.push_back({other.option, place_of(other.path)});
  }
  for (const NamedFile& file : written) {
    if (file.path.empty())
      throw OptionError(file.option + ": expected the name of a file, got none");
    const std::string place = place_of(file.path);
    for (const NamedFile& other : before) {
      if (other.path != place) continue;
      throw OptionError(
          concat(file.option, ": expected a file of its own, got ", file.path, ", which ",
                 other.option == file.option ? "it names twice" : "is that of " + other.option));
    }
    expect_folder(file);
    expect_replaceable(file.path);
    before.push_back({file.option, place});
  }
}

std::vector<NamedFile> named_files(const std::string& option,
                                   const std::vector<std::string>& paths) {
  std::vector<NamedFile> files;
  for (const std::string& path : paths) files.push_back({option, path});
  return files;
}

void expect_appendable(const NamedFile& file) {
  expect_folder(file);
  std::error_code error;
  const bool is_new = !std::filesystem::exists(file.path, error);
  std::ofstream out(file.path, std::ios::binary | std::ios::app);
  if (!out) throw DataError(file.path, 0, "cannot be written");
  out.close();
  if (is_new) std::filesystem::remove(file.path, error);
}

}  // namespace refrain::examples
