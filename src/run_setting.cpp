#include "run_setting.hpp"

#include <charconv>
#include <string_view>

#include "refrain/data/vocabulary.hpp"

namespace refrain {
namespace {

constexpr std::string_view prefix = "setting.";

/// Describes a difference in a setting that is stored as a hash; empty for other settings.
std::string_view content_of(std::string_view name) {
  if (name == "base") return "another base";
  if (name == "vocabulary") return "other items";
  if (name == "data" || name == "fingerprint") return "other data: its items, sequences or split";
  return {};
}

/// A value for a message. A network counts the special ids as items, messages do not.
std::string shown(std::string_view name, const std::string& value) {
  std::int64_t count = 0;
  const char* const end = value.data() + value.size();
  if (name != "items" || std::from_chars(value.data(), end, count).ptr != end) return value;
  return detail::concat(count - special_ids);
}

std::string value_of(const RunSetting& setting, const std::string& name) {
  const auto found = setting.find(name);
  return found == setting.end() ? std::string("nothing") : found->second;
}

}  // namespace

void add_setting(Metadata& texts, const RunSetting& setting) {
  for (const auto& [name, value] : setting) texts[detail::concat(prefix, name)] = value;
}

void expect_same_setting(const std::string& path, const RunSetting& setting,
                         const Metadata& texts) {
  RunSetting saved;
  for (const auto& [name, value] : texts) {
    if (name.starts_with(prefix)) saved[name.substr(prefix.size())] = value;
  }
  if (saved == setting) return;
  if (saved.empty())
    throw DataError(path, 0, "holds no setting of the run that wrote it; give another file");
  RunSetting both = setting;
  both.insert(saved.begin(), saved.end());
  // Without the same model no other value is comparable.
  const bool is_other_model = value_of(setting, "model") != value_of(saved, "model");
  std::string differences;
  for (const auto& [name, either] : both) {
    const std::string expected = value_of(setting, name);
    const std::string got = value_of(saved, name);
    if (expected == got || (is_other_model && name != "model")) continue;
    const std::string_view content = content_of(name);
    differences += differences.empty() ? "" : "; ";
    differences += content.empty() ? detail::concat(name, ": expected ", shown(name, expected),
                                                    ", got ", shown(name, got))
                                   : std::string(content);
  }
  throw DataError(path, 0,
                  detail::concat("keeps the state of another run: ", differences,
                                 "; give the same options and data, or another file"));
}

}  // namespace refrain
