#include <algorithm>
#include <array>

#include "fields.hpp"
#include "refrain/data/readers.hpp"

namespace refrain {
namespace {

constexpr std::array age_bands{1, 18, 25, 35, 45, 50, 56};  ///< lower ends, in years

/// The band of an age in years, or of a band's own code.
int age_band(int years) { return *(std::upper_bound(age_bands.begin() + 1, age_bands.end(), years) - 1); }

/// Fields: user, gender and age in either order, occupation, zip.
struct ProfileFormat {
  detail::Separator separator;
  std::size_t gender, age;
  bool coded;  ///< age is a band's code already
};

constexpr ProfileFormat movielens_1m{{"::"}, 1, 2, true};
constexpr ProfileFormat movielens_100k{{"|"}, 2, 1, false};

std::string list_names(const std::vector<Profiles::Attribute>& attributes) {
  std::string names;
  for (const Profiles::Attribute& attribute : attributes) names += concat(names.empty() ? "" : ", ", attribute.name);
  return names;
}

}  // namespace

const Profiles::Attribute& Profiles::attribute(std::string_view name) const {
  for (const Attribute& attribute : attributes) {
    if (attribute.name == name) return attribute;
  }
  throw OptionError(concat("profiles: expected one of the attributes ", list_names(attributes), ", got \"", name, "\""));
}

std::optional<std::string_view> Profiles::value(std::string_view user, std::string_view attribute) const {
  const Attribute& wanted = this->attribute(attribute);
  const std::int32_t number = users.find(user);
  if (number == StringTable::absent) return std::nullopt;
  return wanted.values[wanted.of_user[static_cast<std::size_t>(number)]];
}

Profiles read_profiles(const std::string& path, const ReadOptions& options) {
  Profiles profiles;
  for (const char* name : {"gender", "age", "occupation"}) profiles.attributes.push_back({name, {}, {}});
  detail::LineReader reader(path, options.max_line_bytes);
  const ProfileFormat* format = nullptr;
  std::vector<std::string_view> fields;
  detail::for_each_line(reader, options, [&](const detail::Line& line) -> std::string {
    if (format == nullptr) format = line.text().find("::") != std::string_view::npos ? &movielens_1m : &movielens_100k;
    detail::split(line, format->separator, fields);
    if (fields.size() != 5) return concat("expected 5 fields parted by \"", format->separator.text, "\", got ", fields.size());
    for (const std::string_view field : std::span(fields).first(4)) {
      if (field.empty()) return "a field is empty";
    }
    int age = 0;
    if (!detail::parse(fields[format->age], age) || age < 1)
      return concat("age ", detail::quoted(fields[format->age]), " is not a positive number");
    if (format->coded && age_band(age) != age) return concat("age ", age, " is none of the codes 1, 18, 25, 35, 45, 50, 56");
    const std::int32_t known = profiles.users.size();
    if (profiles.users.intern(fields[0]) != known) return concat("user ", detail::quoted(fields[0]), " has a profile already");
    const std::string band = std::to_string(age_band(age));
    const std::array<std::string_view, 3> values{fields[format->gender], band, fields[3]};
    for (std::size_t i = 0; i < values.size(); ++i) {
      Profiles::Attribute& attribute = profiles.attributes[i];
      attribute.of_user.push_back(attribute.values.intern(values[i]));
    }
    return {};
  });
  if (profiles.users.empty()) throw DataError(path, 0, "holds no profiles");
  return profiles;
}

TransferSequences label_users(const Sequences& sequences, const Profiles& profiles, std::string_view attribute) {
  if (sequences.user.empty()) throw OptionError("label_users: expected sequences with users, got some of a format without");
  const Profiles::Attribute& wanted = profiles.attribute(attribute);
  TransferSequences task;
  task.source.items = sequences.items;
  for (std::int64_t row = 0; row < sequences.rows.rows(); ++row) {
    const std::string_view user = sequences.users[sequences.user[static_cast<std::size_t>(row)]];
    const std::int32_t number = profiles.users.find(user);
    if (number == StringTable::absent) continue;
    task.source.rows.push_back(sequences.rows[row]);
    task.source.user.push_back(task.source.users.intern(user));
    task.target.rows.add(task.target.items.intern(wanted.values[wanted.of_user[static_cast<std::size_t>(number)]]));
    task.target.rows.end_row();
  }
  if (task.source.rows.empty())
    throw DataError("label_users", 0,
                    concat("expected users with a profile, got none among ", sequences.users.size(),
                           " users of the sequences and ", profiles.users.size(), " profiles"));
  task.target.users = task.source.users;
  task.target.user = task.source.user;
  return task;
}

}  // namespace refrain
