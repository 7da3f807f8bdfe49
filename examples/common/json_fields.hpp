#pragma once
/// Checked access to the values of a JSON object that was read from a file.

#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/choice.hpp"
#include "common/concat.hpp"
#include "refrain/core/error.hpp"

namespace refrain::examples {

/// The non-negative 64-bit integers.
constexpr Between any_count{.least = 0, .most = std::numeric_limits<std::int64_t>::max()};

/// One JSON object of an untrusted file. All functions throw DataError with the file, the line, the
/// expected value and the actual one. (The JSON library's own conversions turn 1e300 into an
/// arbitrary integer and true into 1.)
class JsonFields {
 public:
  /// `what` begins every error message: "invalid configuration".
  JsonFields(std::string_view text, std::string path, std::int64_t line, std::string what)
      : path_(std::move(path)), what_(std::move(what)), line_(line) {
    try {
      object_ = nlohmann::json::parse(text);
    } catch (const nlohmann::json::exception& error) {
      fail(error.what());
    }
    if (!object_.is_object()) fail("expected an object");
  }
  /// A nested object.
  JsonFields(const JsonFields& outer, nlohmann::json object)
      : path_(outer.path_), what_(outer.what_), line_(outer.line_), object_(std::move(object)) {
    if (!object_.is_object()) fail("expected an object");
  }

  bool has(const char* name) const { return object_.contains(name); }

  std::int64_t integer(const char* name, Between range = {}) const {
    return integer_of(name, value(name), range);
  }

  /// An unsigned 64-bit integer, such as a seed or a hash.
  std::uint64_t word(const char* name) const {
    const nlohmann::json& stored = value(name);
    if (!stored.is_number_unsigned()) mismatch(name, "an unsigned 64-bit integer", stored);
    return stored.get<std::uint64_t>();
  }

  /// Any number; null is NaN, because JSON stores non-finite numbers as null.
  double number(const char* name) const { return number_of(name, value(name)); }

  /// A number in [0, 1].
  double share(const char* name) const { return share_of(name, value(name)); }

  bool flag(const char* name) const {
    const nlohmann::json& stored = value(name);
    if (!stored.is_boolean()) mismatch(name, "true or false", stored);
    return stored.get<bool>();
  }

  std::string text(const char* name) const {
    const nlohmann::json& stored = value(name);
    if (!stored.is_string()) mismatch(name, "a string", stored);
    return stored.get<std::string>();
  }

  template <NamedSetting Value>
  Value choice(const char* name) const {
    if (const std::optional<Value> known = choice_of<Value>(text(name))) return *known;
    mismatch(name, "one of " + choice_names<Value>(), value(name));
  }

  std::vector<std::int64_t> integers(const char* name, Between range = {}) const {
    std::vector<std::int64_t> list;
    for (const nlohmann::json& stored : array(name))
      list.push_back(integer_of(name, stored, range));
    return list;
  }

  std::vector<double> shares(const char* name) const {
    std::vector<double> list;
    for (const nlohmann::json& stored : array(name)) list.push_back(share_of(name, stored));
    return list;
  }

  std::map<std::string, double> numbers_by_name(const char* name) const {
    std::map<std::string, double> numbers;
    const JsonFields inner(*this, value(name));
    for (const auto& item : inner.object_.items())
      numbers[item.key()] = number_of(name, item.value());
    return numbers;
  }

  std::vector<JsonFields> objects(const char* name) const {
    std::vector<JsonFields> list;
    for (const nlohmann::json& stored : array(name)) list.emplace_back(*this, stored);
    return list;
  }

  JsonFields object(const char* name) const { return JsonFields(*this, value(name)); }

  /// A nested object as compact JSON.
  std::string text_of_object(const char* name) const {
    return JsonFields(*this, value(name)).object_.dump();
  }

  [[noreturn]] void fail(const std::string& reason) const {
    throw DataError(path_, line_, concat(what_, ": ", reason));
  }

 private:
  const nlohmann::json& value(const char* name) const {
    const auto found = object_.find(name);
    if (found == object_.end()) fail(concat("\"", name, "\" is missing"));
    return *found;
  }

  const nlohmann::json& array(const char* name) const {
    const nlohmann::json& stored = value(name);
    if (!stored.is_array()) mismatch(name, "an array", stored);
    return stored;
  }

  std::int64_t integer_of(const char* name, const nlohmann::json& stored, Between range) const {
    constexpr std::uint64_t most = std::numeric_limits<std::int64_t>::max();
    if (stored.is_number_integer() &&
        !(stored.is_number_unsigned() && stored.get<std::uint64_t>() > most)) {
      const std::int64_t number = stored.get<std::int64_t>();
      if (number >= range.least && number <= range.most) return number;
    }
    mismatch(name, concat("a whole number from ", range.least, " to ", range.most), stored);
  }

  double number_of(const char* name, const nlohmann::json& stored) const {
    if (stored.is_null()) return std::numeric_limits<double>::quiet_NaN();
    if (!stored.is_number()) mismatch(name, "a number", stored);
    return stored.get<double>();
  }

  double share_of(const char* name, const nlohmann::json& stored) const {
    const double number = number_of(name, stored);
    if (!(number >= 0 && number <= 1)) mismatch(name, "a number from 0 to 1", stored);
    return number;
  }

  [[noreturn]] void mismatch(const char* name, const std::string& expected,
                             const nlohmann::json& got) const {
    std::string shown = got.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
    if (shown.size() > 60) shown = shown.substr(0, 60) + "...";
    fail(concat("expected \"", name, "\" to be ", expected, ", got ", shown));
  }

  std::string path_;
  std::string what_;
  std::int64_t line_;
  nlohmann::json object_;
};

}  // namespace refrain::examples
