/// User profiles: what is read, written in the same layout and read again, is the same.

#include "fuzz/program.hpp"
#include "refrain/data/readers.hpp"

namespace refrain::fuzz {
namespace {

std::string text_of(const Profiles& profiles, bool is_users_dat) {
  std::string text = "\xEF\xBB\xBF";
  for (std::int32_t user = 0; user < profiles.users.size(); ++user) {
    const auto value = [&](const char* name) { return std::string(*profiles.value(profiles.users[user], name)); };
    const std::string name(profiles.users[user]);
    text += is_users_dat ? concat(name, "::", value("gender"), "::", value("age"), "::", value("occupation"), "::zip\n")
                         : concat(name, "|", value("age"), "|", value("gender"), "|", value("occupation"), "|zip\n");
  }
  return text;
}

}  // namespace

void try_input(std::string_view input) {
  Choices choices(input);
  ReadReport report;
  const unsigned strictness = choices.next();
  ReadOptions options{.skip_bad_lines = strictness & 3, .report = &report};
  if ((strictness & 4) != 0) options.max_line_bytes = 24;
  const std::string& path = file_with("profiles", choices.rest());
  Profiles profiles;
  if (!accepted(path, [&] { profiles = read_profiles(path, options); })) return;
  require(profiles.attributes.size() == 3 && !profiles.users.empty(), "three attributes of at least one user");
  for (const Profiles::Attribute& attribute : profiles.attributes) {
    require(attribute.of_user.size() == static_cast<std::size_t>(profiles.users.size()), "every user has every attribute");
    for (const std::int32_t value : attribute.of_user) require(!attribute.values[value].empty(), "no value is empty");
  }
  require(report.lines == report.blank_lines + static_cast<std::int64_t>(report.bad_lines.size()) + profiles.users.size(),
          "every line is blank, bad or a profile");
  // The first line decides the layout, so a bad one before it would hide which it was.
  if (!report.bad_lines.empty()) return;
  const bool is_users_dat =
      choices.rest().find("::") < choices.rest().find_first_of("\n", choices.rest().find_first_not_of("\r\n \t"));
  const std::string& again = file_with("again", text_of(profiles, is_users_dat));
  const Profiles back = read_profiles(again, {.max_line_bytes = 1 << 22});
  require(text_of(back, is_users_dat) == contents_of(again), "profiles come back");
}

std::vector<std::string> seeds() {
  return {
      std::string("\0", 1) + "1::F::1::10::48067\n2::M::56::16::70072\n",
      std::string("\1", 1) + "1|24|M|technician|85711\n2|53|F|other|94043\nbad\n",
      std::string("\3", 1) + "\n7|0|M|writer|\n8|200|M|writer|",
  };
}

}  // namespace refrain::fuzz
