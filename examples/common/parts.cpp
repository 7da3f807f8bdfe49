#include "common/parts.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "common/concat.hpp"
#include "common/options.hpp"
#include "refrain/core/error.hpp"
#include "refrain/train/replaced_file.hpp"

namespace refrain::examples {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* manifest_name = "manifest.json";
constexpr std::string_view part_prefix = "part-";

std::optional<std::int64_t> whole(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// "part-00003.jsonl" or "part-00003.csv".
bool is_part(std::string_view name) {
  if (!name.starts_with(part_prefix)) return false;
  const std::size_t dot = name.find('.');
  if (dot == std::string_view::npos) return false;
  const std::string_view digits = name.substr(part_prefix.size(), dot - part_prefix.size());
  const std::string_view extension = name.substr(dot + 1);
  return whole(digits).value_or(-1) >= 0 && (extension == "jsonl" || extension == "csv");
}

/// The new version of a part that a killed process left.
bool is_unfinished(std::string_view name) {
  return name.starts_with(part_prefix) && name.ends_with(".tmp");
}

std::string shown(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

std::optional<PartShare> PartShare::parse(const std::string& text) {
  const std::size_t slash = text.find('/');
  if (slash == std::string::npos) return std::nullopt;
  const auto process = whole(std::string_view(text).substr(0, slash));
  const auto processes = whole(std::string_view(text).substr(slash + 1));
  if (!process || !processes || *process < 1 || *process > *processes) return std::nullopt;
  return PartShare{.process = *process, .processes = *processes};
}

std::string PartShare::text() const { return concat(process, "/", processes); }

std::string Parts::name(std::int64_t part, const std::string& extension) const {
  const std::size_t width = std::max<std::size_t>(5, concat(count() - 1).size());
  return fmt::format("{}{:0{}}.{}", part_prefix, part, width, extension);
}

PartFolder::PartFolder(std::string path, Json settings, bool force)
    : path_(std::move(path)), settings_(std::move(settings)) {
  std::error_code error;
  fs::create_directories(path_, error);
  if (!fs::is_directory(path_, error))
    throw DataError(path_, 0, "is not a folder, and none can be made with this name");
  if (!has(manifest_name) && !has_parts()) {
    const std::string text = settings_.dump(2) + "\n";
    ReplacedFile manifest(file(manifest_name));
    manifest.write(text.data(), text.size());
    manifest.commit();
  }
  std::string other = has(manifest_name)
                          ? difference()
                          : concat("it has parts, and no ", manifest_name, " with their settings");
  if (other.empty()) return;
  if (!force) {
    throw OptionError(concat("--out ", path_, ": expected a folder of the same run: ", other,
                             "; choose another folder, or start anew with --force, which removes "
                             "the parts"));
  }
  // The parts go first: a process that is killed here leaves no part beside the wrong manifest.
  remove_parts();
  fs::remove(file(manifest_name), error);
  *this = PartFolder(std::move(path_), std::move(settings_), false);
}

std::string PartFolder::file(const std::string& name) const {
  return (fs::path(path_) / name).string();
}

bool PartFolder::has(const std::string& name) const {
  std::error_code error;
  return fs::exists(file(name), error);
}

void PartFolder::expect_own() const {
  const std::string other = difference();
  if (other.empty()) return;
  throw OptionError(concat("--out ", path_,
                           ": another process has started anew with other settings: ", other,
                           "; this process ends"));
}

std::string PartFolder::difference() const {
  std::ifstream in(file(manifest_name), std::ios::binary);
  const Json stored = Json::parse(std::istreambuf_iterator<char>(in), {}, nullptr, false);
  if (!stored.is_object())
    return concat(manifest_name,
                  " is missing or damaged, so the settings of its parts are unknown");
  for (const auto& [name, value] : settings_.items()) {
    const Json before = stored.contains(name) ? stored[name] : Json();
    if (before != value)
      return concat("its parts have \"", name, "\": ", shown(before), ", got ", shown(value));
  }
  for (const auto& [name, value] : stored.items()) {
    if (!settings_.contains(name))
      return concat("its parts have \"", name, "\": ", shown(value), ", got none");
  }
  return {};
}

bool PartFolder::has_parts() const {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(path_, error)) {
    if (is_part(entry.path().filename().string())) return true;
  }
  return false;
}

void PartFolder::remove_parts() const {
  std::vector<fs::path> parts;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(path_, error)) {
    const std::string name = entry.path().filename().string();
    if (is_part(name) || is_unfinished(name)) parts.push_back(entry.path());
  }
  for (const fs::path& part : parts) {
    if (!fs::remove(part, error) && error)
      throw DataError(part.string(), 0, "cannot be removed: " + error.message());
  }
}

}  // namespace refrain::examples
