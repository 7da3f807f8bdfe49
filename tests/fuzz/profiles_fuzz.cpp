/// User profiles: profiles that are read, written in the same layout and read again stay the same.

#include "fuzz/program.hpp"
#include "refrain/data/readers.hpp"

namespace refrain::fuzz {
namespace {

std::string in_quotes(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) out += c == '"' ? std::string("\"\"") : std::string(1, c);
  return out + "\"";
}

/// A table with a header, every field in quotes.
std::string table_of(const Profiles& profiles) {
  std::string text = "\xEF\xBB\xBFuser";
  for (const Profiles::Attribute& attribute : profiles.attributes)
    text += "," + in_quotes(attribute.name);
  text += "\n";
  for (std::int32_t user = 0; user < profiles.users.size(); ++user) {
    text += in_quotes(profiles.users[user]);
    for (const Profiles::Attribute& attribute : profiles.attributes) {
      text += "," + in_quotes(profiles.value(profiles.users[user], attribute.name).value_or(""));
    }
    text += "\n";
  }
  return text;
}

/// MovieLens' layouts.
std::string text_of(const Profiles& profiles, bool is_users_dat) {
  std::string text = "\xEF\xBB\xBF";
  for (std::int32_t user = 0; user < profiles.users.size(); ++user) {
    const auto value = [&](const char* name) {
      return std::string(*profiles.value(profiles.users[user], name));
    };
    const std::string name(profiles.users[user]);
    text += is_users_dat ? detail::concat(name, "::", value("gender"), "::", value("age"),
                                          "::", value("occupation"), "::zip\n")
                         : detail::concat(name, "|", value("age"), "|", value("gender"), "|",
                                          value("occupation"), "|zip\n");
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
  const bool is_table = report.read_as.starts_with("profiles: "),
             is_users_dat = report.read_as.starts_with("users.dat");
  require(is_table ? !profiles.attributes.empty() : profiles.attributes.size() == 3,
          "attributes of the layout");
  require(!profiles.users.empty(), "at least one user");
  for (const Profiles::Attribute& attribute : profiles.attributes) {
    require(attribute.of_user.size() == static_cast<std::size_t>(profiles.users.size()),
            "a place for every user");
    for (const std::int32_t value : attribute.of_user) {
      if (is_table && value == absent_id) continue;
      require(!attribute.values[value].empty() && is_utf8(attribute.values[value]),
              "no value is empty, and all are UTF-8");
    }
  }
  require(report.lines == report.blank_lines + static_cast<std::int64_t>(report.bad_lines.size()) +
                              (is_table ? 1 : 0) + profiles.users.size(),
          "every line is blank, bad, a header or a profile");
  // Without a header the first line determines the layout; a bad first line is lost here.
  if (!is_table && !report.bad_lines.empty()) return;
  const std::string text = is_table ? table_of(profiles) : text_of(profiles, is_users_dat);
  // With a table's separators in a name, the first line may read as another header than the
  // original line.
  const std::string_view first = std::string_view(text).substr(0, text.find('\n'));
  if (first.find_first_of(is_table ? ";\t" : ",;\t") != std::string_view::npos) return;
  const std::string& again = file_with("again", text);
  const Profiles back = read_profiles(again, {.max_line_bytes = 1 << 22});
  require((is_table ? table_of(back) : text_of(back, is_users_dat)) == text, "profiles come back");
}

std::vector<std::string> seeds() {
  return {
      std::string("\0", 1) + "1::F::1::10::48067\n2::M::56::16::70072\n",
      std::string("\1", 1) + "1|24|M|technician|85711\n2|53|F|other|94043\nbad\n",
      std::string("\3", 1) + "\n7|0|M|writer|\n8|200|M|writer|",
      std::string("\1", 1) + "churned,user_id,\"a, b\"\nno,1,\"x \"\"y\"\"\"\n,2,z\n",
      std::string("\1", 1) + "user_id,\" plan :token\"\n7,free\n",
      std::string("\0", 1) + "uid:token\tage:float\tsex\n7\t24.5\t\n8\t\tM\n",
  };
}

}  // namespace refrain::fuzz
