#pragma once
/// Text forms of settings, shared by command lines, configuration files and model files. An enum
/// has a table of names, any other type a notation.

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

#include "refrain/core/device.hpp"
#include "refrain/data/readers.hpp"

namespace refrain::examples {

/// A value of a setting and its name.
template <class Value>
struct Choice {
  const char* name;
  Value value;
};

/// The names of an enum's values: a specialization is an array of Choice<Value>. A value may have
/// further names, which are accepted but not written.
template <class Value>
inline constexpr std::nullptr_t choices = nullptr;

template <class Value>
concept Chosen = std::is_enum_v<Value> && std::is_array_v<decltype(choices<Value>)>;

template <Chosen Value>
const char* name_of(Value value) {
  for (const Choice<Value>& choice : choices<Value>) {
    if (choice.value == value) return choice.name;
  }
  return "?";
}

template <Chosen Value>
std::optional<Value> choice_of(std::string_view name) {
  for (const Choice<Value>& choice : choices<Value>) {
    if (choice.name == name) return choice.value;
  }
  return std::nullopt;
}

/// "lstm, gru"
template <Chosen Value>
std::string choice_names() {
  std::string names;
  for (const Choice<Value>& choice : choices<Value>)
    names.append(names.empty() ? "" : ", ").append(choice.name);
  return names;
}

/// A type with a notation: parse(text) returns nullopt for an invalid text, text() is its inverse,
/// and `notation` describes the valid texts.
template <class Value>
concept Notated = requires(const Value& value, const std::string& text) {
  { Value::parse(text) } -> std::same_as<std::optional<Value>>;
  { value.text() } -> std::convertible_to<std::string>;
  { Value::notation } -> std::convertible_to<std::string>;
};

template <Notated Value>
std::string name_of(const Value& value) {
  return value.text();
}
template <Notated Value>
std::optional<Value> choice_of(const std::string& text) {
  return Value::parse(text);
}
template <Notated Value>
std::string choice_names() {
  return Value::notation;
}

template <class Value>
concept NamedSetting = Chosen<Value> || Notated<Value>;

/// A closed range of whole numbers; the default is the range of ids.
struct Between {
  std::int64_t least = 0;
  std::int64_t most = std::numeric_limits<std::int32_t>::max();
};

template <>
inline constexpr Choice<Device> choices<Device>[] = {{"cpu", Device::cpu}, {"cuda", Device::cuda}};
template <>
inline constexpr Choice<Format> choices<Format>[] = {{"automatic", Format::automatic},
                                                     {"ratings_dat", Format::ratings_dat},
                                                     {"ratings_csv", Format::ratings_csv},
                                                     {"u_data", Format::u_data},
                                                     {"inter", Format::inter},
                                                     {"user_item", Format::user_item},
                                                     {"user_items", Format::user_items},
                                                     {"user_item_list", Format::user_item_list},
                                                     {"sequence_csv", Format::sequence_csv},
                                                     {"transfer_csv", Format::transfer_csv}};

}  // namespace refrain::examples
