#include <algorithm>
#include <array>

#include "refrain/data/readers.hpp"
#include "src/columns.hpp"
#include "src/formats.hpp"

namespace refrain {
namespace {

using detail::Line;
using detail::Separator;

constexpr std::array age_bands{1, 18, 25, 35, 45, 50, 56};  ///< lower ends, in years

/// The age band of an age in years. A MovieLens code of a band is a valid age of that band.
int age_band(int years) {
  return *(std::upper_bound(age_bands.begin() + 1, age_bands.end(), years) - 1);
}

/// MovieLens' profile files. Fields: user, gender and age in either order, occupation, zip.
struct MovieLensFormat {
  const char* name;
  Separator separator;
  std::size_t gender, age;
  bool coded;  ///< age is the code of a band
};

constexpr MovieLensFormat movielens_1m{"users.dat", {"::"}, 1, 2, true};
constexpr MovieLensFormat movielens_100k{"u.user", {"|"}, 2, 1, false};

constexpr std::string_view expected_layout =
    "a header that names a user column (user,churned,... or user_id:token,...), or MovieLens' "
    "users.dat or u.user";

std::string list_names(const std::vector<Profiles::Attribute>& attributes) {
  std::string names;
  for (const Profiles::Attribute& attribute : attributes) {
    names += detail::concat(names.empty() ? "" : ", ", detail::quoted(attribute.name));
  }
  return names;
}

/// Turns lines into profiles. A refused line changes nothing.
class ProfileLines {
 public:
  /// `user_column`: the name of the user column, if the header has it.
  explicit ProfileLines(std::string_view user_column) : chosen_user_(user_column) {}

  bool has_layout() const noexcept { return movielens_ != nullptr || user_ != no_column; }

  /// Finds the layout from the first line. True when the line is a header and holds no profile;
  /// sets `reason` when the header is invalid.
  bool take_layout(const Line& line, std::string& reason) {
    const auto holds = [&](std::string_view separator) {
      return line.text().find(separator) != std::string_view::npos;
    };
    if (!holds("::") && take_header(line, reason)) return true;
    if (reason = detail::foreign_start(line.text(), expected_layout); !reason.empty()) return false;
    if (!holds("::") && !holds("|")) {
      reason = detail::concat("expected ", expected_layout, ", got ", detail::quoted(line.text()));
      return false;
    }
    movielens_ = holds("::") ? &movielens_1m : &movielens_100k;
    for (const char* name : {"gender", "age", "occupation"})
      profiles_.attributes.push_back({name, {}, {}});
    return false;
  }

  std::string accept(const Line& line) {
    if (const char* problem = detail::split(line, separator(), fields_); problem != nullptr)
      return problem;
    if (fields_.size() != columns()) {
      return detail::concat("expected ", columns(), " fields separated by ",
                            detail::quoted(separator().text), ", got ", fields_.size());
    }
    std::string reason = movielens_ != nullptr ? movielens_values() : table_values();
    const std::string_view user = fields_[movielens_ != nullptr ? 0 : user_];
    if (reason.empty()) reason = detail::check_id("user", user);
    if (reason.empty() && !detail::is_ascii(line.text())) reason = check_values();
    if (!reason.empty()) return reason;
    const std::int32_t known = profiles_.users.size();
    if (profiles_.users.intern(user) != known)
      return detail::concat("duplicate profile of user ", detail::quoted(user));
    for (std::size_t i = 0; i < values_.size(); ++i) {
      Profiles::Attribute& attribute = profiles_.attributes[i];
      attribute.of_user.push_back(values_[i].empty() ? absent_id
                                                     : attribute.values.intern(values_[i]));
    }
    return {};
  }

  /// A description of the layout and its attributes.
  std::string read_as() const {
    if (movielens_ != nullptr)
      return detail::concat(movielens_->name, ": ", list_names(profiles_.attributes));
    return detail::concat("profiles: user ", detail::quoted(user_name_), ", ",
                          list_names(profiles_.attributes));
  }

  Profiles take() && { return std::move(profiles_); }

 private:
  static constexpr std::size_t no_column = static_cast<std::size_t>(-1);

  Separator separator() const noexcept {
    return movielens_ != nullptr ? movielens_->separator : table_separator_;
  }
  std::size_t columns() const noexcept {
    return movielens_ != nullptr ? 5 : profiles_.attributes.size() + 1;
  }

  /// False when the line names no user column.
  bool take_header(const Line& line, std::string& reason) {
    detail::Candidates user;
    const auto find_user = [&](const std::vector<std::string_view>& names) {
      std::string absent;
      user = {};
      if (!chosen_user_.empty())
        user.column = detail::chosen_column(names, chosen_user_, {}, absent);
      if (user.column < 0) user = detail::find_column(names, detail::Role::user);
      return user.column >= 0;
    };
    table_separator_ = detail::table_separator(line.text(), find_user);
    // Splitting changes quotes in place, and the line may be a profile rather than a header.
    std::string copy(line.text());
    const Line header{copy.data(), copy.data() + copy.size()};
    if (detail::split(header, table_separator_, fields_) != nullptr) return false;
    if (!find_user(fields_)) return false;
    if (user.is_ambiguous()) {
      reason = detail::concat(detail::two_columns(fields_, detail::Role::user, user),
                              ": choose one with ", detail::column_option(detail::Role::user));
      return true;
    }
    user_ = static_cast<std::size_t>(user.column);
    user_name_ = fields_[user_];
    for (std::size_t column = 0; column < fields_.size(); ++column) {
      if (column == user_) continue;
      const std::string_view field = fields_[column];
      const std::string_view name = detail::trim(field.substr(0, field.find(':')));
      const auto same = [&](const Profiles::Attribute& other) { return other.name == name; };
      if (name.empty())
        reason = detail::concat("column ", column + 1, " of the header has no name");
      if (!detail::is_utf8(name))
        reason = detail::concat("column ", detail::quoted(name), " of the header is not UTF-8");
      if (std::any_of(profiles_.attributes.begin(), profiles_.attributes.end(), same)) {
        reason = detail::concat("two columns of the header are named ", detail::quoted(name));
      }
      profiles_.attributes.push_back({std::string(name), {}, {}});
    }
    if (fields_.size() == 1) reason = "the header names a user column and no attribute";
    return true;
  }

  std::string movielens_values() {
    for (const std::string_view field : std::span(fields_).first(4)) {
      if (field.empty()) return "a field is empty";
    }
    const std::string_view field = fields_[movielens_->age];
    int age = 0;
    if (!detail::parse(field, age) || age < 1)
      return detail::concat("age ", detail::quoted(field), " is not a positive number");
    if (movielens_->coded && age_band(age) != age) {
      return detail::concat("age ", age, ": expected one of the codes 1, 18, 25, 35, 45, 50, 56");
    }
    band_ = std::to_string(age_band(age));
    values_.assign({fields_[movielens_->gender], band_, fields_[3]});
    return {};
  }

  /// The values become names of classes, which programs write as JSON, so they must be UTF-8.
  std::string check_values() const {
    for (std::size_t i = 0; i < values_.size(); ++i) {
      if (!detail::is_utf8(values_[i])) {
        return detail::concat("the value of ", detail::quoted(profiles_.attributes[i].name), ", ",
                              detail::quoted(values_[i]), ", is not UTF-8");
      }
    }
    return {};
  }

  std::string table_values() {
    for (std::string_view& field : fields_) field = detail::trim(field);
    values_ = fields_;
    values_.erase(values_.begin() + static_cast<std::ptrdiff_t>(user_));
    return {};
  }

  const MovieLensFormat* movielens_ = nullptr;
  std::string_view chosen_user_;
  Separator table_separator_{","};
  std::size_t user_ = no_column;
  std::string user_name_;
  std::vector<std::string_view> fields_, values_;
  std::string band_;
  Profiles profiles_;
};

/// Calls function(part) for the parts of a text between '|', without the empty ones.
template <class Function>
void for_each_part(std::string_view text, Function&& function) {
  while (true) {
    const std::size_t end = std::min(text.find('|'), text.size());
    const std::string_view part = detail::trim(text.substr(0, end));
    if (!part.empty()) function(part);
    if (end == text.size()) return;
    text.remove_prefix(end + 1);
  }
}

}  // namespace

bool Profiles::Attribute::has_several_values() const {
  for (std::int32_t i = 0; i < values.size(); ++i) {
    if (values[i].find('|') != std::string_view::npos) return true;
  }
  return false;
}

std::vector<std::string> Profiles::Attribute::single_values() const {
  detail::StringTable parts;
  for (std::int32_t i = 0; i < values.size(); ++i)
    for_each_part(values[i], [&](std::string_view part) { parts.intern(part); });
  std::vector<std::string> names;
  for (std::int32_t i = 0; i < parts.size(); ++i) names.emplace_back(parts[i]);
  return names;
}

Profiles::Attribute Profiles::Attribute::one_against_all(std::string_view value) const {
  Attribute one{.name = detail::concat(name, '=', value), .values = {}, .of_user = {}};
  std::vector<std::int32_t> has(static_cast<std::size_t>(values.size()), 0);
  for (std::int32_t i = 0; i < values.size(); ++i) {
    for_each_part(values[i], [&](std::string_view part) {
      if (part == value) has[static_cast<std::size_t>(i)] = 1;
    });
  }
  if (std::ranges::find(has, 1) == has.end()) {
    throw OptionError(detail::concat("profiles: expected a value of ", detail::quoted(name),
                                     ", got ", detail::quoted(value)));
  }
  for (const char* answer : {"no", "yes"}) one.values.intern(answer);
  for (const std::int32_t own : of_user)
    one.of_user.push_back(own == absent_id ? absent_id : has[static_cast<std::size_t>(own)]);
  return one;
}

const Profiles::Attribute& Profiles::attribute(std::string_view name) const {
  for (const Attribute& attribute : attributes) {
    if (attribute.name == name) return attribute;
  }
  throw OptionError(detail::concat("profiles: expected one of the attributes ",
                                   list_names(attributes), ", got \"", name, "\""));
}

std::optional<std::string_view> Profiles::value(std::string_view user,
                                                std::string_view attribute) const {
  const Attribute& wanted = this->attribute(attribute);
  const std::int32_t number = users.find(user);
  if (number == absent_id) return std::nullopt;
  const std::int32_t value = wanted.of_user[static_cast<std::size_t>(number)];
  if (value == absent_id) return std::nullopt;
  return wanted.values[value];
}

Profiles read_profiles(const std::string& path, const ReadOptions& options) {
  detail::LineReader reader(path, options.max_line_bytes);
  ProfileLines lines(options.user_column);
  detail::for_each_line(reader, options, {}, [&](const Line& line) -> std::string {
    if (lines.has_layout()) return lines.accept(line);
    std::string reason;
    if (const bool header = lines.take_layout(line, reason); !reason.empty()) {
      throw DataError(path, line.number, reason);
    } else if (header) {
      return {};
    }
    return lines.accept(line);
  });
  const std::string read_as = lines.read_as();
  Profiles profiles = std::move(lines).take();
  if (profiles.users.empty()) throw DataError(path, 0, "holds no profiles");
  if (options.report != nullptr) options.report->read_as = read_as;
  return profiles;
}

namespace {

/// The attribute of label_users().
Profiles::Attribute labels_of(const Profiles& profiles, std::string_view name) {
  const auto known = [&](std::string_view wanted) {
    return std::ranges::find(profiles.attributes, wanted, &Profiles::Attribute::name);
  };
  for (std::size_t sign = name.find('=');
       sign < name.size() && known(name) == profiles.attributes.end();
       sign = name.find('=', sign + 1)) {
    const auto attribute = known(name.substr(0, sign));
    if (attribute != profiles.attributes.end())
      return attribute->one_against_all(name.substr(sign + 1));
  }
  return profiles.attribute(name);
}

}  // namespace

TransferSequences label_users(const Sequences& sequences, const Profiles& profiles,
                              std::string_view attribute) {
  if (sequences.user.empty())
    throw OptionError("label_users: expected sequences with users, got a format without users");
  const Profiles::Attribute wanted = labels_of(profiles, attribute);
  TransferSequences task;
  task.source.items = sequences.items;
  for (std::int64_t row = 0; row < sequences.rows.rows(); ++row) {
    const std::string_view user = sequences.users[sequences.user[static_cast<std::size_t>(row)]];
    const std::int32_t number = profiles.users.find(user);
    const std::int32_t value =
        number == absent_id ? number : wanted.of_user[static_cast<std::size_t>(number)];
    if (value == absent_id) continue;
    task.source.rows.push_row(sequences.rows, row);
    task.source.user.push_back(task.source.users.intern(user));
    task.target.rows.add(task.target.items.intern(wanted.values[value]));
    task.target.rows.end_row();
  }
  if (task.source.rows.empty())
    throw DataError(
        "label_users", 0,
        detail::concat("expected users with ", detail::quoted(attribute),
                       " in their profiles, got none among ", sequences.users.size(),
                       " users of the sequences and ", profiles.users.size(), " profiles"));
  task.target.users = task.source.users;
  task.target.user = task.source.user;
  return task;
}

}  // namespace refrain
