#include "src/store_files.hpp"

#include <sys/stat.h>

#include <bit>
#include <limits>
#include <nlohmann/json.hpp>

#include "src/whole_file.hpp"

namespace refrain {
namespace {

using Json = nlohmann::json;

constexpr const char* format_name = "refrain sequence store";
constexpr std::int64_t store_version = 1;

static_assert(std::endian::native == std::endian::little, "stores are written in native order");
constexpr const char* byte_order = "little";

Json json_of(const detail::StoreSide& side) {
  return {{"rows", side.rows},
          {"events", side.events},
          {"items", side.items},
          {"has_users", side.has_users}};
}

constexpr std::int64_t max_count = std::int64_t{1}
                                   << 48;  // a file of so many values has 2^51 bytes

std::int64_t count_in(const Json& object, const char* name, std::int64_t max = max_count) {
  const std::int64_t count = object.at(name).get<std::int64_t>();
  if (count < 0 || count > max)
    throw Error(detail::concat("expected ", name, " from 0 to ", max, ", got ", count));
  return count;
}

detail::StoreSide side_of(const Json& object) {
  return {.rows = count_in(object, "rows"),
          .events = count_in(object, "events"),
          .items = count_in(object, "items", std::numeric_limits<std::int32_t>::max()),
          .has_users = object.at("has_users").get<bool>()};
}

/// Parses a manifest; throws exceptions without the name of the file.
detail::Manifest parse_manifest(const std::string& text) {
  const Json json = Json::parse(text);
  if (const std::string got = json.at("format").get<std::string>(); got != format_name)
    throw Error(detail::concat("expected the format \"", format_name, "\", got another"));
  if (const std::int64_t got = json.at("version").get<std::int64_t>(); got != store_version)
    throw Error(detail::concat("expected version ", store_version, " of the format, got ", got,
                               ": prepare the store again"));
  if (json.at("byte_order").get<std::string>() != byte_order)
    throw Error(detail::concat("expected files in ", byte_order,
                               "-endian byte order, got another: prepare the store on this kind of "
                               "machine"));
  detail::Manifest manifest;
  const Json& log = json.at("log");
  manifest.log = log.at("name").get<std::string>();
  manifest.format = parse_format(log.at("format").get<std::string>());
  manifest.read_as = log.at("read_as").get<std::string>();
  manifest.in_file_order = log.at("in_file_order").get<bool>();
  manifest.source = side_of(json.at("source"));
  manifest.has_target = json.contains("target");
  if (manifest.has_target) manifest.target = side_of(json.at("target"));
  for (const auto& [name, file] : json.at("files").items())
    manifest.files[name] = {static_cast<std::uint64_t>(count_in(file, "bytes")),
                            file.at("xxh64").get<std::string>()};
  return manifest;
}

}  // namespace

bool is_store(const std::string& path) {
  struct stat status = {};
  return ::stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode) &&
         ::stat((path + "/" + detail::manifest_name).c_str(), &status) == 0 &&
         S_ISREG(status.st_mode);
}

namespace detail {

std::string hexadecimal(std::uint64_t hash) {
  std::string digits(16, '0');
  for (auto digit = digits.rbegin(); digit != digits.rend(); ++digit, hash >>= 4)
    *digit = "0123456789abcdef"[hash & 15];
  return digits;
}

std::string text_of(const Manifest& manifest) {
  Json files = Json::object();
  for (const auto& [name, file] : manifest.files)
    files[name] = {{"bytes", file.bytes}, {"xxh64", file.hash}};
  Json json{{"format", format_name},
            {"version", store_version},
            {"byte_order", byte_order},
            {"log",
             {{"name", manifest.log},
              {"format", name(manifest.format)},
              {"read_as", manifest.read_as},
              {"in_file_order", manifest.in_file_order}}},
            {"source", json_of(manifest.source)},
            {"files", files}};
  if (manifest.has_target) json["target"] = json_of(manifest.target);
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Manifest read_manifest(const std::string& store) {
  constexpr std::uint64_t max_bytes = std::uint64_t{1} << 20;
  const std::string path = store + "/" + manifest_name;
  const InputFile file(path);
  if (file.size() > max_bytes)
    throw DataError(path, 0, concat("expected at most ", max_bytes, " bytes, got ", file.size()));
  std::string text(static_cast<std::size_t>(file.size()), '\0');
  file.read_at(0, text.data(), text.size());
  try {
    return parse_manifest(text);
  } catch (const std::exception& error) {
    throw DataError(path, 0, concat("no valid manifest of a sequence store: ", error.what()));
  }
}

}  // namespace detail
}  // namespace refrain
